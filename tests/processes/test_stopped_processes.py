"""Tests of processes, of ours and of Redis, that are stopped and go on, and of several threads with one store."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from truecaller_vbc import FileStore, MemoryStore, RedisStore, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.token import tasks

from ..cli.cli_process import environment
from ..redis_server import RedisServer, redis_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot stop a process"),
]
POLICY = TokenPolicy(mint_timeout=timedelta(seconds=2), rejection_grace=timedelta(0))
THREADS = 8
SCRIPT = """
import asyncio
from truecaller_vbc import TokenPolicy, VBCSession
async def main():
    async with VBCSession.from_env(policy=TokenPolicy(mint_timeout=2)) as vbc:
        token = await vbc.token()
        await vbc.labels.list()
        print(token.fingerprint, len(vbc.ledger()))
asyncio.run(main())
"""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as it:
        yield it


async def _start(sandbox: Sandbox, store: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT),
        env={**environment(sandbox), "TRUECALLER_VBC_STORE": store},
        stdout=PIPE,
    )


async def _until_token_requests(sandbox: Sandbox, number: int) -> None:
    async with asyncio.timeout(20):
        while sandbox.token_requests < number:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("on_redis", [False, True])
async def test_owner_that_is_stopped_in_mid_mint_goes_on(sandbox: Sandbox, tmp_path: Path, on_redis: bool) -> None:
    """Another process mints meanwhile; the owner that goes on has a token as well, and the store has one ledger."""
    with redis_server() as server:
        store = server.url if on_redis else (tmp_path / "token.json").as_uri()
        sandbox.fail_next("token", delay=0.5)
        owner = await _start(sandbox, store)
        await _until_token_requests(sandbox, 1)
        owner.send_signal(signal.SIGSTOP)
        try:
            other = await _start(sandbox, store)
            async with asyncio.timeout(20):
                first = (await other.communicate())[0].split()
        finally:
            owner.send_signal(signal.SIGCONT)
        async with asyncio.timeout(20):
            second = (await owner.communicate())[0].split()
        third = (await (await _start(sandbox, store)).communicate())[0].split()

    assert (len(first), len(second)) == (2, 2)
    assert third[0] in (first[0], second[0])
    assert third[1] == b"2"  # both mints are known to all
    assert (owner.returncode, other.returncode, sandbox.mints) == (0, 0, 2)


@pytest.fixture
def paused_redis() -> Any:
    with redis_server() as server:
        yield server


async def test_redis_that_is_stopped(sandbox: Sandbox, paused_redis: RedisServer) -> None:
    """A server that does not answer keeps callers waiting for a short time, not for ever, and is used again later."""
    process = paused_redis._process
    assert process is not None
    async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=paused_redis.url, policy=POLICY) as vbc:
        await vbc.token()
        process.send_signal(signal.SIGSTOP)
        try:
            sandbox.revoke_all()
            await asyncio.sleep(0.05)
            async with asyncio.timeout(10):
                await vbc.labels.list()
        finally:
            process.send_signal(signal.SIGCONT)
        token = await vbc.token()
    assert sandbox.mints == 2

    async with VBCSession(
        sandbox.credentials, base_url=sandbox.base_url, store=paused_redis.url, policy=POLICY
    ) as other:
        assert (await other.token()).value == token.value


@pytest.mark.parametrize("blocked", [0.2, 0.8])
async def test_answer_that_came_while_the_loop_was_blocked(blocked: float) -> None:
    """A deadline that passed while the event loop stood still ends no call whose answer is there."""
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_connection(sock=ours)
        async with tasks.timeout(0.1):
            reading = asyncio.create_task(reader.readline())
            await asyncio.sleep(0)
            theirs.sendall(b"answer\n")
            time.sleep(blocked)  # noqa: ASYNC251 - it stands for a process that is stopped
            assert await reading == b"answer\n"
        with pytest.raises(TimeoutError):
            async with tasks.timeout(0.01):
                await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_threads_with_loops_of_their_own_share_a_store(sandbox: Sandbox, tmp_path: Path) -> None:
    """Threads that use one store object at the same time, each on its own loop, mint once for each kind of store."""
    sandbox.set_outage("token", delay=0.2)

    async def job(store: Any) -> str:
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=store) as vbc:
            return (await vbc.token()).fingerprint

    with redis_server() as server:
        stores = [MemoryStore(), FileStore(tmp_path / "token.json"), RedisStore(server.url)]
        for number, store in enumerate(stores, 1):
            jobs = [asyncio.to_thread(asyncio.run, job(store)) for _ in range(THREADS)]
            assert len(set(await asyncio.gather(*jobs))) == 1
            assert sandbox.mints == number
