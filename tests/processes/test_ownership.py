"""Tests that a session belongs to the process, the thread and the event loop that opened it."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import os
import pickle
import warnings
from collections.abc import AsyncIterator

import aiohttp
import pytest

from truecaller_vbc import Credentials, MemoryStore, SessionClosedError, VBCSession
from truecaller_vbc.sandbox import Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as it:
        yield it


def _session(sandbox: Sandbox, **options: object) -> VBCSession:
    return VBCSession(sandbox.credentials, base_url=sandbox.base_url, **options)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
async def test_forked_child_cannot_use_the_session(sandbox: Sandbox) -> None:
    """A child that inherits a session with the running loop gets SessionClosedError, and the parent goes on."""
    async with _session(sandbox) as vbc:
        await vbc.token()
        read, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads that a fork does not copy
            child = os.fork()
        if child == 0:
            try:
                vbc.token().send(None)
                answer = "a token"
            except SessionClosedError as error:
                answer = str(error)
            except BaseException as error:
                answer = repr(error)
            os.write(write, answer.encode())
            os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222 - the child ends at once
        answer = os.read(read, 1000).decode()
        os.close(read)
        os.close(write)
        async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
            assert response.status == 200

    assert "opened before a fork" in answer
    assert sandbox.mints == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
async def test_fork_leaves_the_connections_to_the_parent(sandbox: Sandbox) -> None:
    """The parent gets its next answer on a connection that was idle as it forked, whatever the child frees."""
    async with _session(sandbox) as vbc:
        path = f"/clients/{vbc.client_account_id}/labels"
        async with vbc.get(path) as response:
            await response.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads that a fork does not copy
            child = os.fork()
        if child == 0:
            vbc._http = None
            gc.collect()
            os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222 - the child ends at once
        async with vbc.get(path, timeout=aiohttp.ClientTimeout(total=10.0)) as response:
            assert response.status == 200


async def test_session_is_neither_copied_nor_pickled(sandbox: Sandbox) -> None:
    """Copies and pickles are refused, with what to do instead."""
    async with _session(sandbox) as vbc:
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(SessionClosedError, match="make one there"):
                duplicate(vbc)


def test_session_whose_loop_has_ended_says_so() -> None:
    """The next loop is told that the loop has ended, and what to do under WSGI, Celery or serverless."""

    async def first() -> VBCSession:
        vbc = await VBCSession(Credentials("account", "key", "api-key")).open()
        assert vbc.status().state == "empty"
        return vbc

    vbc = asyncio.run(first())
    with pytest.raises(SessionClosedError, match=r"has ended.*store="):
        asyncio.run(vbc.token())


async def test_open_and_close_without_a_block(sandbox: Sandbox) -> None:
    """`open` returns the session, and a second `open` is refused."""
    vbc = await _session(sandbox).open()
    try:
        assert (await vbc.token()).value
        with pytest.raises(SessionClosedError, match="open already"):
            await vbc.open()
    finally:
        await vbc.close()
    with pytest.raises(SessionClosedError, match="closed"):
        await vbc.open()


@pytest.mark.parametrize(
    ("stores", "warned"),
    [
        ((None, None), True),
        (("memory://", "memory://"), True),
        ((MemoryStore(), None), True),
        ((MemoryStore(), "same"), False),
    ],
)
async def test_second_session_without_sharing_is_warned_of(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, stores: tuple[object, object], warned: bool
) -> None:
    """Two open sessions of one account and key that share no token are warned of, once."""
    first, second = stores
    second = first if second == "same" else second
    with caplog.at_level(logging.WARNING, "truecaller_vbc"):
        async with _session(sandbox, store=first), _session(sandbox, store=second), _session(sandbox, store=second):
            pass

    assert [record.getMessage()[:19] for record in caplog.records] == ["a second VBCSession"] * warned


async def test_another_account_has_another_ledger(sandbox: Sandbox) -> None:
    """A credentials callable that changes the account books nothing of the old one on the new one."""
    given = [Credentials("other", "key", "wrong"), sandbox.credentials]

    async def vault() -> Credentials:
        return given.pop(0) if len(given) > 1 else given[0]

    async with VBCSession(vault, base_url=sandbox.base_url) as vbc:
        await vbc.token()

        assert [entry.outcome for entry in vbc.ledger()] == ["minted"]
        assert vbc.client_account_id == sandbox.credentials.client_account_id
