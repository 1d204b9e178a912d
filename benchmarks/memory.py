"""Bytes of an idle session that shares its `http`, beside 4 KiB: Python's own count, over 1,000 of them.

Fair, since everything counts that is still there after a collection: the session, its background task and timer, and
its token, which is no other session's. The shared `http`, the policy's default and what the first sessions import
are there before the count begins.
"""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import AsyncExitStack

import aiohttp
from rounds import Row, figure
from server import server

from truecaller_vbc import VBCSession

SESSIONS = 1000
BEFORE = 10
LIMIT = 4096


async def run(rounds: int, scale: float) -> list[Row]:  # noqa: ARG001
    """A row for sessions that have a token, and one for those that do not."""
    sessions = int(SESSIONS * max(scale, 0.3))
    return [await _row("that has a token", sessions, minted=True), await _row("without one", sessions, minted=False)]


async def _row(name: str, sessions: int, *, minted: bool) -> Row:
    with server(max_mints=1_000_000) as there:
        async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:

            async def open_sessions(count: int) -> None:
                for _ in range(count):
                    vbc = VBCSession(there.credentials, base_url=there.base_url, http=http)
                    await stack.enter_async_context(vbc)
                    if minted:
                        await vbc.token()
                gc.collect()

            await open_sessions(BEFORE)
            tracemalloc.start()
            try:
                await open_sessions(sessions)
                used = tracemalloc.get_traced_memory()[0] / sessions
            finally:
                tracemalloc.stop()
    return figure(f"bytes of an idle session {name}, beside 4 KiB", "B", used, LIMIT)
