"""An authenticated POST: ours beside aiohttp with a static header, 64 at a time, to a server in another process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from rounds import Row, Timed, compare
from server import server

from truecaller_vbc import VBCSession

CONCURRENT = 64
RECORD = {"caller_number": "911234567890", "receiver_number": "919876543210"}


def posting(post: Callable[[], Any], requests: int, *, cpu: bool) -> Timed:
    """Requests per second, or CPU milliseconds of this process for 1,000 of them."""

    async def caller(share: int) -> None:
        for _ in range(share):
            async with post() as response:
                await response.read()
                assert response.status == 200  # noqa: S101

    async def timed() -> float:
        clock = time.process_time if cpu else time.perf_counter
        started = clock()
        await asyncio.gather(*(caller(requests // CONCURRENT) for _ in range(CONCURRENT)))
        spent = clock() - started
        return spent / requests * 1e6 if cpu else requests / spent

    return timed


async def run(rounds: int, scale: float) -> list[Row]:
    """All rows."""
    requests = max(CONCURRENT, int(3200 * scale))
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

            def theirs() -> Any:
                return bare.post(url, json=RECORD, headers=header)

            for name, call in (
                ("vbc.post", lambda: vbc.post(path, json=RECORD)),
                ("vbc.auth as middleware", lambda: own.post(url, json=RECORD)),
            ):
                rows.append(
                    await compare(
                        f"{name}: requests per second beside bare aiohttp",
                        "/s",
                        posting(call, requests, cpu=False),
                        posting(theirs, requests, cpu=False),
                        target=0.97,
                        rounds=rounds,
                        at_least=True,
                    )
                )
                rows.append(
                    await compare(
                        f"{name}: client CPU for 1,000 requests beside bare aiohttp",
                        "ms",
                        posting(call, requests, cpu=True),
                        posting(theirs, requests, cpu=True),
                        target=1.03,
                        rounds=rounds,
                    )
                )
    return rows
