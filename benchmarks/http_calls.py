"""Time authenticated requests and typed calls beside bare aiohttp.

Both sides have sessions with the same settings, open their connections in the warm-up round, and send the same records
to the same sandbox in another process. Requests per second depend on that sandbox too; the CPU time of this process
does not.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp

from truecaller_vbc import APIPolicy, CallRecord, VBCSession

from .rounds import Effort, Round, Row, row_of_pairs, run_pairs
from .sandboxes import call_record, sandbox_process

CONCURRENT = 64
CHUNK = 500
IN_FLIGHT = 4


def time_requests(send: Callable[[], Awaitable[object]], requests: int) -> Round[tuple[float, float]]:
    """Return a round of `requests` calls, 64 at a time, that measures calls per second and CPU ms per 1,000 calls."""

    async def caller() -> None:
        for _ in range(requests // CONCURRENT):
            await send()

    async def run() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller() for _ in range(CONCURRENT)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return requests / wall, cpu / requests * 1e6

    return run


def _sender(post: Callable[[], Any]) -> Callable[[], Awaitable[None]]:
    """Return a function that posts once and reads the answer."""

    async def send() -> None:
        async with post() as response:
            await response.read()
            assert response.status == 200  # noqa: S101

    return send


async def authenticated_posts(effort: Effort) -> list[Row]:
    """Compare `vbc.post` and `vbc.auth` as middleware with aiohttp and a static header."""
    requests = CONCURRENT * int(20 * max(effort.scale, 0.5))
    record = call_record()
    rows = []
    with sandbox_process() as sandbox:
        async with (
            aiohttp.ClientSession() as bare,
            aiohttp.ClientSession() as http,
            VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http) as vbc,
            aiohttp.ClientSession(middlewares=(vbc.auth,)) as with_middleware,
        ):
            path = f"/v2/clients/{vbc.client_account_id}/dynamic_call_record"
            url = sandbox.base_url + path
            header = {"Authorization": str((await vbc.token()).authorization)}
            baseline = time_requests(_sender(lambda: bare.post(url, json=record, headers=header)), requests)
            for name, post in (
                ("vbc.post", lambda: vbc.post(path, json=record)),
                ("vbc.auth as middleware", lambda: with_middleware.post(url, json=record)),
            ):
                pairs = await run_pairs(time_requests(_sender(post), requests), baseline, effort.rounds)
                speed = [(ours[0], other[0]) for ours, other in pairs]
                cpu = [(ours[1], other[1]) for ours, other in pairs]
                label = f"{name}: requests per second beside bare aiohttp"
                rows.append(row_of_pairs(label, "/s", speed, target=0.97, at_least=True))
                label = f"{name}: client CPU for 1,000 requests beside bare aiohttp"
                rows.append(row_of_pairs(label, "ms", cpu, target=1.03))
    return rows


async def typed_calls(effort: Effort) -> list[Row]:
    """Compare `calls.push` and `calls.push_all` with aiohttp that posts the same JSON, all without a rate limit."""
    return [await _push(effort), await _push_all(effort)]


def _mappings(count: int) -> Iterator[dict[str, Any]]:
    """Yield records as a file gives them, with numbers in E.164."""
    common = call_record()
    for number in range(count):
        yield common | {"caller_number": "+911234567890", "receiver_number": f"+91{7_000_010_000 + number * 10:010}"}


async def _push(effort: Effort) -> Row:
    """Build, check, encode and send one record per call; the baseline only encodes and sends."""
    requests = CONCURRENT * int(20 * max(effort.scale, 0.5))
    policy = APIPolicy(realtime_rate=None)
    with sandbox_process() as sandbox:
        async with (
            aiohttp.ClientSession() as bare,
            VBCSession(sandbox.credentials, base_url=sandbox.base_url, api_policy=policy) as vbc,
        ):
            url = f"{sandbox.base_url}/v2/clients/{vbc.client_account_id}/dynamic_call_record"
            header = {"Authorization": str((await vbc.token()).authorization)}
            record = call_record()
            fields = next(_mappings(1))

            async def send_bare() -> None:
                async with bare.post(url, json=record, headers=header) as response:
                    assert response.status == 200  # noqa: S101
                    await response.json()

            pairs = await run_pairs(
                time_requests(lambda: vbc.calls.push(CallRecord(**fields)), requests),
                time_requests(send_bare, requests),
                effort.rounds,
            )
    speed = [(ours[0], other[0]) for ours, other in pairs]
    return row_of_pairs("calls.push beside bare aiohttp", "/s", speed, target=0.9, at_least=True)


async def _push_all(effort: Effort) -> Row:
    """Build, check, encode and send records in batches; the baseline sends batches that were encoded before."""
    chunks = int(20 * max(effort.scale, 0.5))
    policy = APIPolicy(batch_rate=None)
    with sandbox_process() as sandbox:
        async with (
            aiohttp.ClientSession() as bare,
            VBCSession(sandbox.credentials, base_url=sandbox.base_url, api_policy=policy) as vbc,
        ):
            url = f"{sandbox.base_url}/v3/clients/{vbc.client_account_id}/dynamic_call_records"
            authorization = str((await vbc.token()).authorization)
            header = {"Authorization": authorization, "Content-Type": "application/json"}
            records = list(_mappings(chunks * CHUNK))
            bodies = [
                json.dumps({"call_records": records[first : first + CHUNK]}).encode()
                for first in range(0, len(records), CHUNK)
            ]

            async def push_all() -> float:
                started = time.perf_counter()
                async for result in vbc.calls.push_all(records, in_flight=IN_FLIGHT):
                    assert result.outcome == "acknowledged"  # noqa: S101
                return len(records) / (time.perf_counter() - started)

            async def post_bodies(remaining: Iterator[bytes]) -> None:
                for body in remaining:
                    async with bare.post(url, data=body, headers=header) as response:
                        assert response.status == 200  # noqa: S101
                        await response.read()

            async def post_all() -> float:
                started, remaining = time.perf_counter(), iter(bodies)
                await asyncio.gather(*(post_bodies(remaining) for _ in range(IN_FLIGHT)))
                return len(records) / (time.perf_counter() - started)

            pairs = await run_pairs(push_all, post_all, effort.rounds)
    label = "calls.push_all beside posting encoded bytes"
    return row_of_pairs(label, "records/s", pairs, target=0.7, at_least=True)
