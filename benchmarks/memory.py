"""Bytes of an idle session that shares its `http`: Python's own count, over 500 of them."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import AsyncExitStack

import aiohttp
from rounds import Row
from server import server

from truecaller_vbc import VBCSession

SESSIONS = 500
LIMIT = 4096


async def run(rounds: int, scale: float) -> list[Row]:  # noqa: ARG001
    """A row for sessions that have a token, and one for those that do not."""
    return [await _row("that has a token", minted=True), await _row("without a token", minted=False)]


async def _row(name: str, *, minted: bool) -> Row:
    with server(max_mints=1_000_000) as there:
        async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:
            policy = None
            for number in range(SESSIONS + 10):
                if number == 10:
                    gc.collect()
                    tracemalloc.start()
                vbc = VBCSession(there.credentials, base_url=there.base_url, http=http, policy=policy)
                await stack.enter_async_context(vbc)
                if minted:
                    await vbc.token()
            gc.collect()
            used = tracemalloc.get_traced_memory()[0] / SESSIONS
            tracemalloc.stop()
    ratio = used / LIMIT
    return Row(f"bytes of an idle session {name}, beside 4 KiB", "B", used, LIMIT, ratio, (ratio, ratio), 1.0)
