"""Share one token among real processes through a file and through Redis."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from truecaller_vbc import RedisStore, TokenAdopted, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox, SandboxRules

from ..cli.cli_process import environment
from ..redis_server import RedisServer, redis_server, redis_url

pytestmark = pytest.mark.slow

WORKER = str(Path(__file__).with_name("fleet_worker.py"))


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[str]:
    with redis_url() as url:
        yield url


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/token.json"


async def _start(sandbox: Sandbox, store: str, *options: str) -> Process:
    variables = {**os.environ, **environment(sandbox), "TRUECALLER_VBC_STORE": store}
    return await asyncio.create_subprocess_exec(
        sys.executable, WORKER, *options, env=variables, stdout=asyncio.subprocess.PIPE
    )


async def _answers(processes: list[Process]) -> list[dict[str, Any]]:
    outputs = await asyncio.gather(*(process.communicate() for process in processes))
    return [json.loads(line) for output, _ in outputs for line in output.splitlines()]


async def test_sixteen_processes_at_once_mint_once(shared_redis: str) -> None:
    """Processes that start at the same time share one mint."""
    async with Sandbox(SandboxRules(token_latency=0.3)) as sandbox:
        answers = await _answers([await _start(sandbox, shared_redis) for _ in range(16)])

    assert sandbox.mints == 1
    assert len(answers) == 16
    assert len({answer["fingerprint"] for answer in answers}) == 1


async def test_processes_share_the_backoff_of_a_failing_endpoint(file_url: str) -> None:
    """Processes that each call, wait until `retry_at` and call again are seen by the endpoint as one backoff."""
    async with Sandbox() as sandbox:
        sandbox.set_outage("token", status=503)
        answers = await _answers([await _start(sandbox, file_url, "--times", "2") for _ in range(8)])

    assert {answer.get("error") for answer in answers} == {"TokenEndpointError"}
    assert len(answers) == 16
    # Two or three requests, or more where the interpreters take long to start.
    times = [entry.at for entry in sandbox.log]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(gap > 0.8 * 2**number - 0.05 for number, gap in enumerate(gaps)), gaps
    assert 2 <= len(times) < 8


async def test_thirty_starts_of_a_script_mint_once(file_url: str) -> None:
    """A script that is started every few seconds, as by cron, adopts the token of its first run."""
    async with Sandbox() as sandbox:
        for _ in range(10):
            answers = await _answers([await _start(sandbox, file_url) for _ in range(3)])
            assert {answer["generation"] for answer in answers} == {1}

        assert sandbox.mints == 1


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


async def test_redis_down_and_back(own_redis: RedisServer) -> None:
    """Calls succeed while Redis is down, before and after the token's end, and its document is restored afterwards."""
    events: list[str] = []
    policy = TokenPolicy().scaled(1 / 1200)
    async with (
        Sandbox(SandboxRules(token_lifetime=3.0, mint_window=1.5)) as sandbox,
        VBCSession(
            sandbox.credentials,
            base_url=sandbox.base_url,
            store=own_redis.url,
            policy=policy,
            on_event=lambda event: events.append(type(event).__name__),
        ) as vbc,
    ):

        async def call() -> None:
            async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
                assert response.status == 200

        first = await vbc.token()
        own_redis.kill()
        while vbc.current_token is not None:
            await call()
            await asyncio.sleep(0.05)
        await call()
        second = await vbc.token()
        assert second != first
        assert events.count("StoreUnavailable") == 1

        own_redis.start()
        store = RedisStore(own_redis.url)
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
            store=own_redis.url,
            policy=policy,
            on_event=heard.append,
        ) as other:
            await other.token()
            assert isinstance(heard[0], TokenAdopted)
            assert other.status().generation >= 2
