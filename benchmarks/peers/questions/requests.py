"""What an authenticated request costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from rounds import in_turn, spread
from server import call_record

from ..bench import Answer, Bench
from ..peer import Peer

CONCURRENT = 64
RECORD = call_record()


def posting(peer: Peer, requests: int) -> Callable[[], Awaitable[tuple[float, float]]]:
    """Requests per second, and CPU milliseconds of this process for 1,000 of them."""

    async def caller() -> None:
        for _ in range(requests // CONCURRENT):
            assert await peer.post(peer.wire.record_url, RECORD) == 200  # noqa: S101

    async def timed() -> tuple[float, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller() for _ in range(CONCURRENT)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return requests / wall, cpu / requests * 1e6

    return timed


async def ask(bench: Bench) -> Answer:
    house = bench.farm.house()
    async with AsyncExitStack() as stack:
        timed = {}
        for name in bench.names:
            peer = await stack.enter_async_context(bench.peer(name, house))
            await peer.authorization()
            timed[name] = posting(peer, CONCURRENT * bench.pick(10, 4))
        rounds = await in_turn(timed, bench.pick(9, 3))
    first = rounds[bench.names[0]]
    rows = {
        name: [
            *spread([speed for speed, _ in rounds[name]], [speed for speed, _ in first], unit="/s"),
            *spread([cpu for _, cpu in rounds[name]], [cpu for _, cpu in first], unit="ms"),
        ]
        for name in bench.names
    }
    return Answer(
        2,
        "What does an authenticated request cost?",
        f"POSTs, {CONCURRENT} at a time, to one sandbox in a process of its own; rounds in turn. Each peer sends "
        "with what its "
        "documentation sends with, so `azure_core` and `authlib_httpx` are also the price of their HTTP stacks.",
        ["requests per second", "ratio (range)", "client CPU for 1,000", "ratio (range)"],
        rows,
    )
