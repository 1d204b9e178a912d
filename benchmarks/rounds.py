"""Two things timed beside each other: A B A B ..., and the ratio of each pair. Only the ratio is worth quoting."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs

Timed: TypeAlias = Callable[[], Awaitable[float]]


@attrs.frozen
class Row:
    """One line of the table.

    Args:
        name: what is compared.
        ours: in `unit`, the median.
        beside: the same of what stands beside it; for a mere figure, the target.
        ratio: the median of the pairs' ratios, ours by theirs.
        spread: their smallest and largest.
        target: what the ratio should be, at most.
        at_least: the ratio should be at least that, instead.
    """

    name: str
    unit: str
    ours: float
    beside: float
    ratio: float
    spread: tuple[float, float]
    target: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


async def compare(
    name: str, unit: str, ours: Timed, beside: Timed, *, target: float, rounds: int, at_least: bool = False
) -> Row:
    """Time both in turn. A timed function returns its own figure; larger is better where `at_least`."""
    await ours(), await beside()
    pairs = []
    for number in range(rounds):
        gc.collect()
        gc.disable()
        try:
            # Each goes first every other time, so that neither always has the warmer caches.
            if number % 2:
                theirs, mine = await beside(), await ours()
            else:
                mine, theirs = await ours(), await beside()
        finally:
            gc.enable()
        pairs.append((mine, theirs))
    ratios = [mine / theirs for mine, theirs in pairs]
    return Row(
        name,
        unit,
        statistics.median(mine for mine, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
        statistics.median(ratios),
        (min(ratios), max(ratios)),
        target,
        at_least,
    )


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | ours | beside it | ratio (median, range) | target | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        sign = ">=" if row.at_least else "<="
        lines.append(
            f"| {row.name} | {row.ours:,.4g} {row.unit} | {row.beside:,.4g} {row.unit} "
            f"| {row.ratio:.2f} ({row.spread[0]:.2f} to {row.spread[1]:.2f}) | {sign} {row.target:g} "
            f"| {'yes' if row.met else 'NO'} |"
        )
    return "\n".join(lines)
