"""Several processes of one program."""

from __future__ import annotations

from ..bench import Answer, Bench, Cell
from ..offspring import in_processes, variants

FLEETS = (1, 4, 16, 64)


async def ask(bench: Bench) -> Answer:
    rows: dict[str, list[Cell]] = {}
    for label, name, store in variants(bench.minting):
        cells: list[Cell] = []
        for fleet in FLEETS:
            house = bench.farm.house()
            await in_processes(name, bench.wire(house), fleet, at_once=True, store=store)
            cells.append(house.mints)
            house.tell("close")
        rows[label] = cells
    return Answer(
        10,
        "Several processes at once: how many mints?",
        "So many processes, forked at once, each of which needs a token once. The server grants 10 in 30 minutes.",
        [f"{fleet} at once" for fleet in FLEETS],
        rows,
    )
