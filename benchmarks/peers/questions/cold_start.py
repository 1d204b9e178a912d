"""Many coroutines at once, and nobody has a token."""

from __future__ import annotations

import asyncio
import statistics
import time

from ..bench import Answer, Bench, Cell

CROWDS = (1, 10, 100, 1_000, 10_000)


async def ask(bench: Bench) -> Answer:
    rows: dict[str, list[Cell]] = {}
    figures: dict[str, list[int]] = {}
    for name in bench.minting:
        cells: list[Cell] = []
        for crowd in CROWDS:
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
            cells.append(f"{most:,} in {statistics.median(walls) * 1000:,.3g} ms")
            figures.setdefault(name, []).append(most)
        rows[name] = cells
    return Answer(
        3,
        "A cold start: how many mints for a crowd?",
        "So many coroutines ask at once, and there is no token. Mints (the most of 3 runs) and wall time "
        "(median). The server "
        "grants any number here; the real one grants 10 in 30 minutes.",
        [f"{crowd:,} at once" for crowd in CROWDS],
        rows,
        {"crowds": CROWDS, "mints": figures},
    )
