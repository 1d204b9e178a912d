"""Time sessions that adopt a stored token, and count what a thousand sessions on one Redis do at a refresh."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
from redis.asyncio import BlockingConnectionPool, Redis

from tests.redis_server import redis_server
from truecaller_vbc import RedisStore, TokenPolicy, TokenStore, VBCSession

from .rounds import Effort, Row, row_of_limit
from .sandboxes import RemoteSandbox, sandbox_process

SESSIONS = 1000
REPEATS = 51


async def stores(effort: Effort) -> list[Row]:
    """Compare adoption from a file with 2 ms and from Redis with three round trips; then the shared refresh.

    Raises:
        ConfigurationError: no Redis server is installed.
    """
    with redis_server() as redis:
        with sandbox_process(max_mints=1_000_000) as sandbox, TemporaryDirectory() as directory:
            file = await _time_adoption(sandbox, Path(directory, "token.json").as_uri())
            async with Redis.from_url(redis.url) as client:
                shared = await _time_adoption(sandbox, RedisStore(client))
                round_trip = await _median_ms(client.ping)
        return [
            row_of_limit("adopting a token from a file, beside 2 ms", "ms", file, 2.0),
            row_of_limit("adopting a token from Redis, beside 3 round trips", "ms", shared, 3 * round_trip),
            *(await _shared_refresh(redis.url, int(SESSIONS * min(1.0, effort.scale * 2)))),
        ]


async def _median_ms(call: Callable[[], Awaitable[object]]) -> float:
    took = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        await call()
        took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took[1:])


async def _time_adoption(sandbox: RemoteSandbox, store: TokenStore | str) -> float:
    """Return the milliseconds of the first `token()` in a session whose store has a token."""
    took = []
    async with aiohttp.ClientSession() as http:
        for _ in range(REPEATS):
            async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=store, http=http) as vbc:
                started = time.perf_counter()
                await vbc.token()
                took.append((time.perf_counter() - started) * 1000)
    return statistics.median(took[1:])


async def _shared_refresh(redis_url: str, sessions: int) -> list[Row]:
    """Let sessions on one Redis become due for a refresh; count the mints, and the Redis commands per session."""
    policy = TokenPolicy().scaled(1 / 240)  # tokens live for 15 s and are due between 10 and 11.25 s
    lifetime, window = policy.lifetime.total_seconds(), policy.mint_window.total_seconds()
    with sandbox_process(token_lifetime=lifetime, mint_window=window) as sandbox:
        async with AsyncExitStack() as stack:
            pool = BlockingConnectionPool.from_url(redis_url, max_connections=50)
            client = await stack.enter_async_context(Redis.from_pool(pool))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            store = RedisStore(client)
            fleet = [
                VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=policy, store=store, http=http)
                for _ in range(sessions)
            ]
            for vbc in fleet:
                await stack.enter_async_context(vbc)
                await vbc.token()
            first = fleet[0].status().generation
            commands_before = await _commands(client)
            while any(vbc.status().generation == first for vbc in fleet):
                for vbc in fleet:
                    await vbc.token()
                await asyncio.sleep(0.2)
            commands = await _commands(client) - commands_before
            mints = fleet[0].status().generation - first
    return [
        row_of_limit(f"mints of {sessions:,} sessions at their soft point, beside 1", "", mints, 1),
        row_of_limit("Redis commands of each of them, beside 5", "", commands / sessions, 5),
    ]


async def _commands(client: Redis) -> int:
    stats = await client.info("commandstats")
    return sum(int(stats[name]["calls"]) for name in stats if name in {"cmdstat_get", "cmdstat_set", "cmdstat_eval"})
