"""Count the mints of several processes, one after the other and at once (questions 9 and 10)."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from .child import run_processes
from .comparison import Cell, Comparison, Table

RESTARTS = 20
FLEETS = (1, 4, 16, 64)


async def restarts(comparison: Comparison) -> Table:
    """Start a process again and again, as a crash loop or a cron job does."""
    rows: dict[str, list[Cell]] = {
        label: [await _mints(comparison, name, RESTARTS, at_once=False, with_store=with_store)]
        for label, name, with_store in _variants(comparison)
    }
    return Table(
        9,
        f"{RESTARTS} restarts: how many mints?",
        f"{RESTARTS} processes, one after the other, each of which needs a token once. The server grants 10 in 30 "
        "minutes.",
        ["mints"],
        rows,
    )


async def processes(comparison: Comparison) -> Table:
    """Start several processes of one program at once."""
    rows: dict[str, list[Cell]] = {
        label: [await _mints(comparison, name, fleet, at_once=True, with_store=with_store) for fleet in FLEETS]
        for label, name, with_store in _variants(comparison)
    }
    return Table(
        10,
        "Several processes at once: how many mints?",
        "So many processes, forked at once, each of which needs a token once. The server grants 10 in 30 minutes.",
        [f"{fleet} at once" for fleet in FLEETS],
        rows,
    )


def _variants(comparison: Comparison) -> list[tuple[str, str, bool]]:
    """Return label, name, and whether a file store is used."""
    variants = [(name, name, False) for name in comparison.refreshing]
    return [*variants, ("ours, with a file store", "ours", True)] if "ours" in comparison.names else variants


async def _mints(comparison: Comparison, name: str, count: int, *, at_once: bool, with_store: bool) -> int:
    sandbox = comparison.sandbox()
    with TemporaryDirectory() as directory:
        store = Path(directory, "token.json").as_uri() if with_store else None
        await run_processes(name, comparison.target(sandbox, store=store), count, at_once=at_once)
    mints = sandbox.mints
    sandbox.send("close")
    return mints
