"""10,000 coroutines at a cold start, beside 10,000 that await one shared future.

Fair, since both sides make the same POST once, on a new session without an open connection, to the same server, and
gather as many coroutines. Ours must have made exactly one mint.
"""

from __future__ import annotations

import asyncio
import time

import aiohttp
from rounds import Row, compare
from server import Server, server

from truecaller_vbc import VBCSession

CALLERS = 10_000


async def _ours(there: Server) -> float:
    async with VBCSession(there.credentials, base_url=there.base_url) as vbc:
        started = time.perf_counter()
        await asyncio.gather(*(vbc.token() for _ in range(CALLERS)))
        spent = time.perf_counter() - started
        assert vbc.status().mints_in_window == 1  # noqa: S101
    return spent * 1000


async def _shared_future(there: Server) -> float:
    credentials = there.credentials
    url = f"{there.base_url}/clients/{credentials.client_account_id}/token"

    async def mint(http: aiohttp.ClientSession) -> str:
        body = {"key_id": credentials.key_id, "api_key": str(credentials.api_key)}
        async with http.post(url, json=body, headers={"X-Public-Access": "allow"}) as response:
            token: str = (await response.json())["token"]
            return token

    async def caller(future: asyncio.Task[str]) -> str:
        return await future

    async with aiohttp.ClientSession() as http:
        started = time.perf_counter()
        future = asyncio.create_task(mint(http))
        await asyncio.gather(*(caller(future) for _ in range(CALLERS)))
        return (time.perf_counter() - started) * 1000


async def run(rounds: int, scale: float) -> list[Row]:  # noqa: ARG001
    """The row."""
    with server(max_mints=1_000_000) as there:
        return [
            await compare(
                "cold start of 10,000 coroutines (1 mint) beside one shared future",
                "ms",
                lambda: _ours(there),
                lambda: _shared_future(there),
                target=1.3,
                rounds=rounds,
            )
        ]
