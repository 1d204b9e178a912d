"""An authenticated POST, 64 at a time: `vbc.post`, and `vbc.auth` as middleware, beside aiohttp with a static header.

Fair, since all three have an `aiohttp.ClientSession` of the same settings, whose connections are open before the first
round that counts, and send the same record to the same server, in a process of its own. Requests per second depend on
that server, too; the CPU time of this process does not, and is the calmer figure of the same rounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from rounds import Row, interleaved, paired
from server import call_record, server

from truecaller_vbc import VBCSession

CONCURRENT = 64


def posting(post: Callable[[], Any], requests: int) -> Callable[[], Awaitable[tuple[float, float]]]:
    """Requests per second, and CPU milliseconds of this process for 1,000 of them."""

    async def caller(share: int) -> None:
        for _ in range(share):
            async with post() as response:
                await response.read()
                assert response.status == 200  # noqa: S101

    async def timed() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller(requests // CONCURRENT) for _ in range(CONCURRENT)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return requests / wall, cpu / requests * 1e6

    return timed


async def run(rounds: int, scale: float) -> list[Row]:
    """Two rows for each of the two forms."""
    requests = CONCURRENT * int(20 * max(scale, 0.5))
    record = call_record()
    rows = []
    with server() as there:
        async with (
            aiohttp.ClientSession() as bare,
            aiohttp.ClientSession() as http,
            VBCSession(there.credentials, base_url=there.base_url, http=http) as vbc,
            aiohttp.ClientSession(middlewares=(vbc.auth,)) as own,
        ):
            path = f"/v2/clients/{vbc.client_account_id}/dynamic_call_record"
            url = there.base_url + path
            header = {"Authorization": str((await vbc.token()).authorization)}
            beside = posting(lambda: bare.post(url, json=record, headers=header), requests)
            for name, ours in (
                ("vbc.post", posting(lambda: vbc.post(path, json=record), requests)),
                ("vbc.auth as middleware", posting(lambda: own.post(url, json=record), requests)),
            ):
                pairs = await interleaved(ours, beside, rounds)
                speed = [(mine[0], theirs[0]) for mine, theirs in pairs]
                cost = [(mine[1], theirs[1]) for mine, theirs in pairs]
                label = f"{name}: requests per second beside bare aiohttp"
                rows.append(paired(label, "/s", speed, target=0.97, at_least=True))
                label = f"{name}: client CPU for 1,000 requests beside bare aiohttp"
                rows.append(paired(label, "ms", cost, target=1.03))
    return rows
