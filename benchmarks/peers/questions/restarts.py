"""A process that starts again and again, as in a crash loop or a cron job."""

from __future__ import annotations

from ..bench import Answer, Bench, Cell
from ..offspring import in_processes, variants

TIMES = 20


async def ask(bench: Bench) -> Answer:
    rows: dict[str, list[Cell]] = {}
    for label, name, store in variants(bench.minting):
        house = bench.farm.house()
        await in_processes(name, bench.wire(house), TIMES, at_once=False, store=store)
        rows[label] = [house.mints]
        house.tell("close")
    return Answer(
        9,
        f"{TIMES} restarts: how many mints?",
        f"{TIMES} processes, one after the other, each of which needs a token once. The server grants 10 in 30 "
        "minutes.",
        ["mints"],
        rows,
    )
