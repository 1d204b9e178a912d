"""Bytes of an idle session that shares its `http`, beside 4 KiB: Python's own count, over 1,000 of them.

Fair, since everything counts that is still there after a collection: the session, its background task and timer, and
its token, which is no other session's. The shared `http` and what the first sessions import are there before the
count begins. Idle means that nobody has asked for a second, so that the token has cooled.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import aiohttp
from rounds import Row, figure
from server import server

from truecaller_vbc import VBCSession

SESSIONS = 1000
BEFORE = 10
LIMIT = 4096
REST = 1.1


async def run(rounds: int, scale: float) -> list[Row]:  # noqa: ARG001
    """A row for sessions that have a token, and one for those that do not."""
    count = int(SESSIONS * max(scale, 0.3))
    return [await _row("that has a token", count, minted=True), await _row("without one", count, minted=False)]


async def _row(name: str, count: int, *, minted: bool) -> Row:
    sessions: list[VBCSession] = []
    with server(max_mints=1_000_000) as there:
        async with aiohttp.ClientSession() as http:

            async def open_one() -> None:
                vbc = VBCSession(there.credentials, base_url=there.base_url, http=http)
                sessions.append(await vbc.__aenter__())  # no `async with`: an exit stack would be counted, too
                if minted:
                    await vbc.token()

            for _ in range(BEFORE):
                await open_one()
            gc.collect()
            tracemalloc.start()
            try:
                for _ in range(count):
                    await open_one()
                await asyncio.sleep(REST)
                gc.collect()
                used = tracemalloc.get_traced_memory()[0] / count
            finally:
                tracemalloc.stop()
            for vbc in sessions:
                await vbc.close()
    return figure(f"bytes of an idle session {name}, beside 4 KiB", "B", used, LIMIT)
