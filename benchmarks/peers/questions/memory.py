"""What a session takes, if there are many: one for each account."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import attrs

from ..bench import Answer, Bench, Cell
from ..wire import Wire

COUNTS = (1, 100, 1_000, 10_000)
RESIDENT_FROM, TRACED_TO = 1_000, 1_000
SCRIPT = Path(__file__).parents[1] / "weigh.py"


async def ask(bench: Bench) -> Answer:
    rows: dict[str, list[Cell]] = {}
    figures: dict[str, list[float]] = {}
    counts = COUNTS[: bench.pick(4, 3)]
    for name in bench.names:
        cells: list[Cell] = []
        for count in counts:
            house = bench.farm.house()
            wire = bench.wire(house)
            traced = await _weigh(name, wire, count, "traced") if count <= TRACED_TO else None
            resident = await _weigh(name, wire, count, "resident") if count >= RESIDENT_FROM else None
            house.tell("close")
            shown = [f"{traced:,.3g}"] if traced is not None else []
            shown += [f"({resident:,.3g})"] if resident is not None else []
            cells.append(" ".join(shown))
            figures.setdefault(name, []).append(traced if traced is not None else resident or 0.0)
        rows[name] = cells
    return Answer(
        11,
        "What does a session with a token take?",
        "KB for each of so many, in a new process, by tracemalloc; in brackets by resident memory. They share one "
        "`aiohttp.ClientSession` where the peer takes one; `authlib_httpx` has a connection pool of its own for "
        "each, and "
        "`google_auth_aio` a `requests` session.",
        [f"{count:,}" for count in counts],
        rows,
        {"counts": counts, "kilobytes": figures},
    )


async def _weigh(name: str, wire: Wire, count: int, how: str) -> float:
    """KB of one of `count`: traced, or resident."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, SCRIPT, name, str(count), how, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await child.communicate(json.dumps(attrs.asdict(wire)).encode())
    return float(printed) / 1024
