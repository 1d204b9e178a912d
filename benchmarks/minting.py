"""Time callers while a token is minted at a cold start and around a refresh."""

from __future__ import annotations

import asyncio
import gc
import time
from array import array
from collections.abc import Sequence
from datetime import timedelta

import aiohttp

from truecaller_vbc import TokenMinted, TokenPolicy, VBCSession

from .rounds import Effort, Row, compare, row_of_pairs
from .sandboxes import RemoteSandbox, call_record, sandbox_process

COLD_CALLERS = 10_000
NEAR = 0.05
CALLERS = 8
# A refresh every 1.1 s: well before the token's end, as with the real lifetime, and rarer than the holder's own
# look at the clock, which comes once a second and is part of the normal load.
FREQUENT_REFRESH = TokenPolicy(
    lifetime=timedelta(seconds=30),
    refresh_ahead=timedelta(seconds=28.85),
    refresh_jitter=timedelta(seconds=0.05),
    max_mints=1000,
)


async def cold_start(effort: Effort) -> list[Row]:
    """Compare 10,000 concurrent `token()` calls in a new session with 10,000 coroutines that await one shared task.

    Both sides open a connection and mint once, with the same POST to the same sandbox.
    """
    with sandbox_process(max_mints=1_000_000) as sandbox:
        return [
            await compare(
                "cold start of 10,000 coroutines (1 mint) beside one shared future",
                "ms",
                lambda: _new_session(sandbox),
                lambda: _shared_task(sandbox),
                target=1.3,
                rounds=effort.rounds,
            )
        ]


async def _new_session(sandbox: RemoteSandbox) -> float:
    async with VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc:
        started = time.perf_counter()
        await asyncio.gather(*(vbc.token() for _ in range(COLD_CALLERS)))
        seconds = time.perf_counter() - started
        assert vbc.status().mints_in_window == 1  # noqa: S101
    return seconds * 1000


async def _shared_task(sandbox: RemoteSandbox) -> float:
    credentials = sandbox.credentials
    url = f"{sandbox.base_url}/clients/{credentials.client_account_id}/token"

    async def mint(http: aiohttp.ClientSession) -> str:
        body = {"key_id": credentials.key_id, "api_key": str(credentials.api_key)}
        async with http.post(url, json=body, headers={"X-Public-Access": "allow"}) as response:
            token: str = (await response.json())["token"]
            return token

    async def caller(task: asyncio.Task[str]) -> str:
        return await task

    async with aiohttp.ClientSession() as http:
        started = time.perf_counter()
        task = asyncio.create_task(mint(http))
        await asyncio.gather(*(caller(task) for _ in range(COLD_CALLERS)))
        return (time.perf_counter() - started) * 1000


async def around_refresh(effort: Effort) -> list[Row]:
    """Compare the p99.9 latency of calls within 50 ms of a refresh with that of all other calls of the same run.

    The run is cut into parts and the median of their ratios counts, since one burst of another process on the machine
    decides a single p99.9.
    """
    parts, seconds = max(1, effort.rounds // 3), max(2.5, 15 * effort.scale)
    return [
        await _latency_row("token()", parts, seconds, with_request=False),
        await _latency_row("vbc.post", parts, seconds, with_request=True),
    ]


async def _latency_row(name: str, parts: int, seconds: float, *, with_request: bool) -> Row:
    mints: list[float] = []
    started_at, latencies = array("d"), array("d")  # arrays, since a growing list slows the garbage collector down
    with sandbox_process(token_lifetime=FREQUENT_REFRESH.lifetime.total_seconds(), max_mints=1000) as sandbox:
        async with VBCSession(
            sandbox.credentials,
            base_url=sandbox.base_url,
            policy=FREQUENT_REFRESH,
            on_event=lambda event: mints.append(time.perf_counter()) if isinstance(event, TokenMinted) else None,
        ) as vbc:
            await vbc.token()
            path = f"/v2/clients/{vbc.client_account_id}/dynamic_call_record"
            record = call_record()
            gc.freeze()
            begin = time.perf_counter()

            async def caller() -> None:
                while (started := time.perf_counter()) < begin + seconds:
                    if with_request:
                        async with vbc.post(path, json=record) as response:
                            await response.read()
                            assert response.status == 200  # noqa: S101
                    else:
                        await vbc.token()
                    latencies.append(time.perf_counter() - started)
                    started_at.append(started)
                    await asyncio.sleep(0.001)

            await asyncio.gather(*(caller() for _ in range(CALLERS)))
            gc.unfreeze()
    refreshes = mints[1:]  # callers waited for the first mint: it is not a refresh
    pairs = []
    for part in range(parts):
        near, far = array("d"), array("d")
        for at, latency in zip(started_at, latencies, strict=True):
            if int((at - begin) / seconds * parts) == part:
                is_near = any(at - NEAR < mint < at + latency + NEAR for mint in refreshes)
                (near if is_near else far).append(latency)
        if near and far:
            pairs.append((_p999(near), _p999(far)))
    label = (
        f"{name}: p99.9 around a refresh ({len(refreshes)} of them, {len(latencies):,} calls) beside all other calls"
    )
    return row_of_pairs(label, "us", pairs, target=1.2)


def _p999(latencies: Sequence[float]) -> float:
    """Return the 99.9th percentile in microseconds."""
    return sorted(latencies)[int(0.999 * len(latencies))] * 1e6
