"""One token for many processes: real processes, a real server, real kills."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from truecaller_vbc import RedisStore, TokenAdopted, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox, SandboxRules

from ..redis_server import RedisServer, redis_server, redis_url

pytestmark = pytest.mark.slow

WORKER = str(Path(__file__).with_name("fleet_worker.py"))


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[str]:
    with redis_url() as url:
        yield url


@pytest.fixture(params=["file", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a fleet of this test shares its token; each sandbox is another account, so one Redis serves all."""
    if request.param == "file":
        return f"file://{tmp_path}/token.json"
    url: str = request.getfixturevalue("shared_redis")
    return url


async def _start(sandbox: Sandbox, store: str, *options: str) -> Process:
    environment = {
        **os.environ,
        "TRUECALLER_VBC_CLIENT_ACCOUNT_ID": sandbox.credentials.client_account_id,
        "TRUECALLER_VBC_KEY_ID": sandbox.credentials.key_id,
        "TRUECALLER_VBC_API_KEY": str(sandbox.credentials.api_key),
        "TRUECALLER_VBC_BASE_URL": sandbox.base_url,
        "TRUECALLER_VBC_STORE": store,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, WORKER, *options, env=environment, stdout=asyncio.subprocess.PIPE
    )


async def _answers(processes: list[Process]) -> list[dict[str, Any]]:
    outputs = await asyncio.gather(*(process.communicate() for process in processes))
    return [json.loads(line) for output, _ in outputs for line in output.splitlines()]


async def test_sixteen_processes_at_once_mint_once(store_url: str) -> None:
    """A boot of a whole backend costs one mint."""
    async with Sandbox(SandboxRules(token_latency=0.3)) as sandbox:
        answers = await _answers([await _start(sandbox, store_url) for _ in range(16)])

    assert sandbox.mints == 1
    assert len(answers) == 16
    assert len({answer["fingerprint"] for answer in answers}) == 1


async def test_sixteen_processes_share_a_failing_endpoint(store_url: str) -> None:
    """A failure is shared: each process asks, waits as told, asks again; the endpoint sees one backoff of them all."""
    async with Sandbox() as sandbox:
        sandbox.set_outage("token", status=503)
        answers = await _answers([await _start(sandbox, store_url, "--times", "2") for _ in range(16)])

    assert {answer.get("error") for answer in answers} == {"TokenEndpointError"}
    assert len(answers) == 32
    # Two or three of them, but where sixteen interpreters take long to start.
    times = [entry.at for entry in sandbox.log]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(gap > 0.8 * 2**number - 0.05 for number, gap in enumerate(gaps)), gaps
    assert 2 <= len(times) < 8


async def test_leader_killed_in_mid_mint(store_url: str) -> None:
    """The leader is killed with SIGKILL: the others have a token within lease and mint time, and it counts."""
    async with Sandbox() as sandbox:
        sandbox.fail_next("token", delay=float("inf"))
        leader = await _start(sandbox, store_url, "--mint-timeout", "2")
        while sandbox.faults_left("token"):
            await asyncio.sleep(0.01)
        followers = [await _start(sandbox, store_url, "--mint-timeout", "2") for _ in range(3)]
        leader.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        answers = await _answers(followers)
        await leader.communicate()

    assert time.monotonic() - killed < 2 * 2 + 2 + 5  # lease and mint; the rest is the start of four interpreters
    assert sandbox.mints == 1
    assert len({answer["fingerprint"] for answer in answers}) == 1
    assert {answer["mints"] for answer in answers} == {2}


async def test_thirty_starts_of_a_script_mint_once(store_url: str) -> None:
    """A cron job that starts every other second costs what one start costs."""
    async with Sandbox() as sandbox:
        for _ in range(10):
            answers = await _answers([await _start(sandbox, store_url) for _ in range(3)])
            assert {answer["generation"] for answer in answers} == {1}

        assert sandbox.mints == 1


@pytest.fixture
def mortal_redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


async def test_redis_down_and_back(mortal_redis: RedisServer) -> None:
    """Down while the token is valid: no failed call. Down past its end: the own ledger decides. Back: one document."""
    events: list[str] = []
    policy = TokenPolicy().scaled(1 / 1200)
    async with (
        Sandbox(SandboxRules(token_lifetime=3.0, mint_window=1.5)) as sandbox,
        VBCSession(
            sandbox.credentials,
            base_url=sandbox.base_url,
            store=mortal_redis.url,
            policy=policy,
            on_event=lambda event: events.append(type(event).__name__),
        ) as vbc,
    ):

        async def call() -> None:
            async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
                assert response.status == 200

        first = await vbc.token()
        mortal_redis.kill()
        while vbc.current_token is not None:
            await call()
            await asyncio.sleep(0.05)
        await call()
        second = await vbc.token()
        assert second != first
        assert events.count("StoreUnavailable") == 1

        mortal_redis.start()
        store = RedisStore(mortal_redis.url)
        key = vbc._holder._minter._key
        async with asyncio.timeout(20):
            while str((await vbc.token()).value) not in (await store.read(key) or ""):
                await call()
                await asyncio.sleep(0.05)
        await store.close()
        assert "StoreRecovered" in events

        heard: list[object] = []
        async with VBCSession(
            sandbox.credentials,
            base_url=sandbox.base_url,
            store=mortal_redis.url,
            policy=policy,
            on_event=heard.append,
        ) as other:
            await other.token()
            assert isinstance(heard[0], TokenAdopted)
            assert other.status().generation >= 2
