"""Adopting from a file in milliseconds, from Redis in round trips; and a thousand sessions on one Redis."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from redis.asyncio import BlockingConnectionPool, Redis
from rounds import Row
from server import Server, server

from tests.redis_server import RedisServer
from truecaller_vbc import RedisStore, TokenPolicy, TokenStore, VBCSession

SESSIONS = 1000


async def run(rounds: int, scale: float) -> list[Row]:  # noqa: ARG001
    """All rows; each a figure beside its limit."""
    redis = RedisServer()
    redis.start()
    try:
        with server(max_mints=1_000_000) as there, TemporaryDirectory() as directory:
            file_url = Path(directory, "token.json").as_uri()
            file = await _adopting(there, lambda: file_url)
            client = Redis.from_url(redis.url)
            shared = RedisStore(client)
            adopting = await _adopting(there, lambda: shared)
            ping = await _pinging(client)
            await client.aclose()
            return [
                _row("adopting a token from a file, beside 2 ms", "ms", file, 2.0),
                _row("adopting a token from Redis, beside 3 round trips", "ms", adopting, 3 * ping),
                *(await _soft_point(redis, int(SESSIONS * min(1.0, scale * 2)))),
            ]
    finally:
        redis.kill()


async def _adopting(there: Server, store: Callable[[], TokenStore | str]) -> float:
    """Milliseconds of the first `token()` of a session that finds one in its store."""
    took = []
    async with aiohttp.ClientSession() as http:
        for _ in range(51):
            async with VBCSession(there.credentials, base_url=there.base_url, store=store(), http=http) as vbc:
                started = time.perf_counter()
                await vbc.token()
                took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took[1:])


async def _pinging(client: Redis) -> float:
    took = []
    for _ in range(51):
        started = time.perf_counter()
        await client.ping()
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took)


async def _soft_point(redis: RedisServer, sessions: int) -> list[Row]:
    """A thousand sessions in use pass their soft point: the mints, and the commands that Redis saw for each."""
    policy = TokenPolicy().scaled(1 / 240)  # 15 s; stale between 10 and 11.25 s
    lifetime, window = policy.lifetime.total_seconds(), policy.mint_window.total_seconds()
    with server(token_lifetime=lifetime, mint_window=window) as there:
        async with AsyncExitStack() as stack:
            pool = BlockingConnectionPool.from_url(redis.url, max_connections=50)
            client = await stack.enter_async_context(Redis.from_pool(pool))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            store = RedisStore(client)
            fleet = [
                VBCSession(there.credentials, base_url=there.base_url, policy=policy, store=store, http=http)
                for _ in range(sessions)
            ]
            for vbc in fleet:
                await stack.enter_async_context(vbc)
                await vbc.token()
            first = fleet[0].status()
            total = await _commands(client)
            while any(vbc.status().generation == first.generation for vbc in fleet):
                for vbc in fleet:
                    await vbc.token()
                await asyncio.sleep(0.2)
            commands = await _commands(client) - total
            generation = fleet[0].status().generation - first.generation
    return [
        _row(f"mints of {sessions:,} sessions at their soft point, beside 1", "", generation, 1),
        _row("Redis commands of each of them, beside 5", "", commands / sessions, 5),
    ]


async def _commands(client: Redis) -> int:
    stats = await client.info("commandstats")
    return sum(int(stats[name]["calls"]) for name in stats if name in {"cmdstat_get", "cmdstat_set", "cmdstat_eval"})


def _row(name: str, unit: str, figure: float, limit: float) -> Row:
    ratio = figure / limit
    return Row(name, unit, figure, limit, ratio, (ratio, ratio), 1.0)
