"""Tests that a token request in flight comes to its answer, however the program around it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from truecaller_vbc import FileStore, MemoryStore, SessionClosedError, TokenEndpointError, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox

FAST = attrs.evolve(TokenPolicy(), mint_timeout=timedelta(seconds=2))


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as it:
        yield it


def _session(sandbox: Sandbox, **options: object) -> VBCSession:
    return VBCSession(sandbox.credentials, base_url=sandbox.base_url, **options)  # type: ignore[arg-type]


async def _minting(sandbox: Sandbox, requests: int = 1) -> None:
    while sandbox.token_requests < requests:
        await asyncio.sleep(0.005)


async def test_close_waits_for_the_answer(sandbox: Sandbox) -> None:
    """Twelve sessions closed in the middle of a mint cost one mint, whose token is in the store."""
    store = MemoryStore()
    sandbox.set_outage("token", delay=0.2)
    for number in range(12):
        vbc = await _session(sandbox, store=store).open()
        waiting = asyncio.create_task(vbc.token())
        if number == 0:
            await _minting(sandbox)
        else:
            await waiting
        closing = asyncio.create_task(vbc.close())
        if number == 0:
            with pytest.raises(SessionClosedError):
                await waiting
            assert not closing.done()
        await closing

    assert sandbox.mints == 1


async def test_close_grace_is_a_limit(sandbox: Sandbox) -> None:
    """After close_grace the request is given up; with 0 at once."""
    sandbox.set_outage("token", delay=float("inf"))
    for grace in (timedelta(seconds=0.05), timedelta(0)):
        vbc = await _session(sandbox, policy=attrs.evolve(FAST, close_grace=grace)).open()
        waiting = asyncio.create_task(vbc.token())
        await _minting(sandbox, sandbox.token_requests + 1)
        async with asyncio.timeout(1):
            await vbc.close()
        with pytest.raises(SessionClosedError):
            await waiting


async def test_answer_after_the_deadline_is_kept(sandbox: Sandbox) -> None:
    """An endpoint that is slower than mint_timeout costs one mint: callers fail, and the late token serves the next."""
    sandbox.fail_next("token", delay=2.4)
    async with _session(sandbox, policy=attrs.evolve(FAST, retry_first=timedelta(seconds=0.1))) as vbc:
        with pytest.raises(TokenEndpointError, match="did not answer within 2 s"):
            await vbc.token()
        with pytest.raises(TokenEndpointError):
            await vbc.token()
        await asyncio.sleep(0.2)
        token = await vbc.token()

        assert vbc.status().fingerprint == token.fingerprint
        assert vbc.status().last_error is None
    assert (sandbox.mints, sandbox.token_requests) == (1, 1)


def _cancel_ours() -> None:
    """Cancel all tasks as a harness does, except for those of the server in the same loop."""
    for task in asyncio.all_tasks():
        if task.get_name().startswith("truecaller_vbc"):
            task.cancel()


async def test_all_tasks_are_cancelled_while_callers_wait(sandbox: Sandbox) -> None:
    """A harness that cancels every task of the loop loses no mint, and ends no open session."""
    sandbox.fail_next("token", delay=0.1)
    async with _session(sandbox) as vbc:
        waiting = asyncio.create_task(vbc.token())
        await _minting(sandbox)
        _cancel_ours()
        assert (await waiting).value
        _cancel_ours()
        await asyncio.sleep(0)
        vbc._holder._clear_fast_token()
        await vbc.token()

        assert vbc.status().next_refresh_at is not None
    assert sandbox.mints == 1


async def test_attempt_that_is_cancelled_before_its_request_is_made_again(sandbox: Sandbox) -> None:
    """Where nothing was sent, the waiting callers' attempt starts again, once; then they are told the truth."""
    asked = asyncio.Event()

    async def vault() -> object:
        asked.set()
        await asyncio.sleep(3600 if len(cancelled) < 1 else 0)
        return sandbox.credentials

    cancelled: list[bool] = []
    async with VBCSession(vault, base_url=sandbox.base_url) as vbc:  # type: ignore[arg-type]
        waiting = asyncio.create_task(vbc.token())
        await asked.wait()
        attempt = vbc._holder._attempt
        assert attempt is not None
        cancelled.append(attempt.cancel())
        assert (await waiting).value


SCRIPT = """
import asyncio, signal, sys
from truecaller_vbc import VBCSession

async def main():
    how = sys.argv[1]
    async def work():
        async with VBCSession.from_env() as vbc:
            await vbc.token()
    if how == "timeout":
        async with asyncio.timeout(0.2):
            await work()
    elif how == "sigterm":
        task = asyncio.current_task()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        print("ready", flush=True)
        await work()
    else:
        vbc = await VBCSession.from_env().open()
        asyncio.create_task(vbc.token())
        await asyncio.sleep(0.2)

try:
    asyncio.run(main())
except (TimeoutError, asyncio.CancelledError):
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["timeout", "sigterm", "abandoned"])
async def test_script_that_ends_during_a_mint(sandbox: Sandbox, tmp_path: Path, how: str) -> None:
    """A deadline around a script, SIGTERM, and the end of asyncio.run leave the token in the store."""
    store = f"file://{tmp_path}/token.json"
    sandbox.fail_next("token", delay=0.6)
    environment = {
        **os.environ,
        "TRUECALLER_VBC_CLIENT_ACCOUNT_ID": sandbox.credentials.client_account_id,
        "TRUECALLER_VBC_KEY_ID": sandbox.credentials.key_id,
        "TRUECALLER_VBC_API_KEY": str(sandbox.credentials.api_key),
        "TRUECALLER_VBC_BASE_URL": sandbox.base_url,
        "TRUECALLER_VBC_STORE": store,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT, how),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    await _minting(sandbox)
    if how == "sigterm":
        process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        _, errors = await process.communicate()

    assert errors == b""
    async with _session(sandbox, store=FileStore(tmp_path / "token.json")) as vbc:
        await vbc.token()
    assert sandbox.mints == 1


async def test_on_demand_starts_no_background(sandbox: Sandbox) -> None:
    """refresh="on_demand" serves a stale token and never refreshes it ahead."""
    policy = TokenPolicy(
        lifetime=timedelta(seconds=10),
        refresh_ahead=timedelta(seconds=9.7),
        refresh_jitter=timedelta(0),
        expiry_margin=timedelta(seconds=1),
    )
    async with _session(sandbox, policy=policy, refresh="on_demand") as vbc:
        token = await vbc.token()
        names = {task.get_name() for task in asyncio.all_tasks()}
        await asyncio.sleep(0.5)

        assert not any("refresher" in name for name in names)
        assert vbc.status().state == "stale"
        assert vbc.status().next_refresh_at is None
        assert await vbc.token() is token
    assert sandbox.mints == 1
