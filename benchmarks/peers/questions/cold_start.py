"""Many coroutines at once, and nobody has a token."""

from __future__ import annotations

import asyncio
import statistics
import time

from ..bench import Answer, Bench, Cell

CROWDS = (1, 10, 100, 1_000, 10_000)
FAILING = (1, 10, 100, 1_000)


async def ask(bench: Bench) -> Answer:
    rows: dict[str, list[Cell]] = {}
    attempts: dict[str, list[int]] = {}
    for name in bench.minting:
        cells: list[Cell] = [await _crowd(bench, name, crowd) for crowd in CROWDS]
        attempts[name] = [await _failing_crowd(bench, name, crowd) for crowd in FAILING]
        rows[name] = [*cells, attempts[name][-1]]
    return Answer(
        3,
        "A cold start: how many mints for a crowd?",
        "So many coroutines ask at once, and there is no token. Mints (the most of 3 runs) and wall time (median). "
        "Last column, and plot: the token endpoint answers 500, and each coroutine asks once; the attempts. "
        "The server counts any number here; the real one grants 10 in 30 minutes.",
        [*(f"{crowd:,} at once" for crowd in CROWDS), f"{FAILING[-1]:,} at once, 500: attempts"],
        rows,
        {"crowds": FAILING, "attempts": attempts},
    )


async def _crowd(bench: Bench, name: str, crowd: int) -> str:
    most, walls = 0, []
    house = bench.farm.house()
    for _ in range(bench.pick(3, 1)):
        before = house.mints
        async with bench.peer(name, house) as peer:
            started = time.perf_counter()
            await asyncio.gather(*(peer.authorization() for _ in range(crowd)))
            walls.append(time.perf_counter() - started)
        most = max(most, house.mints - before)
    house.tell("close")
    return f"{most:,} in {statistics.median(walls) * 1000:,.3g} ms"


async def _failing_crowd(bench: Bench, name: str, crowd: int) -> int:
    house = bench.farm.house()
    house.tell("outage", endpoint="token", fault={"status": 500})
    async with bench.peer(name, house) as peer:
        await asyncio.gather(*(peer.authorization() for _ in range(crowd)), return_exceptions=True)
    attempts = int(house.tell("stats")["token_requests"])
    house.tell("close")
    return attempts
