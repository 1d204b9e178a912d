"""Somebody who waits for a mint is cancelled, as when a web client goes away."""

from __future__ import annotations

import asyncio

from ..bench import Answer, Bench, Cell

TOKEN_LATENCY = 0.4
WAITERS = 10


async def ask(bench: Bench) -> Answer:
    rows: dict[str, list[Cell]] = {}
    for name in bench.minting:
        one, served = await _cancelled(bench, name, 1)
        everybody, _ = await _cancelled(bench, name, WAITERS)
        rows[name] = [one, f"{served} of {WAITERS - 1}", everybody, "no" if everybody == 1 else "yes"]
    return Answer(
        5,
        "A waiter is cancelled in mid-mint: is the mint lost?",
        f"{WAITERS} coroutines wait for one mint of {TOKEN_LATENCY * 1000:.0f} ms. After a quarter of it the "
        "first is cancelled, or all are; "
        "then, a second later, one more asks. One mint is enough for all of that.",
        ["mints, first cancelled", "others served", "mints, all cancelled", "is a paid-for mint lost?"],
        rows,
    )


async def _cancelled(bench: Bench, name: str, count: int) -> tuple[int, int]:
    """The mints, and how many of the others got a token."""
    house = bench.farm.house(token_latency=TOKEN_LATENCY)
    async with bench.peer(name, house) as peer:
        waiters = [asyncio.create_task(peer.authorization()) for _ in range(WAITERS)]
        await asyncio.sleep(TOKEN_LATENCY / 4)
        for waiter in waiters[:count]:
            waiter.cancel()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        await asyncio.sleep(1)
        await peer.authorization()
    mints = house.mints
    house.tell("close")
    return mints, sum(isinstance(result, str) for result in results[count:])
