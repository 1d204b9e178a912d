"""Time two or more things in turn and compare them by the ratio of each round.

All sides meet the same load of the machine, each round starts with another side, and the garbage collector runs only
between rounds. The ratios can be compared between machines; the absolute figures cannot.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import attrs

T = TypeVar("T")
Round: TypeAlias = Callable[[], Awaitable[T]]
"""Run one round and return its figure."""


@attrs.frozen
class Effort:
    """How long a benchmark runs.

    Args:
        rounds: number of rounds.
        scale: factor for the work in one round.
    """

    rounds: int = 11
    scale: float = 1.0


@attrs.frozen
class Row:
    """One line of the table.

    Args:
        name: what is compared.
        unit: unit of `ours` and `baseline`.
        ours: median figure of this library.
        baseline: median figure of the other side, or a limit.
        ratio: median of `ours / baseline` over the rounds.
        spread: smallest and largest of these ratios.
        target: limit of `ratio`.
        at_least: whether `target` is a lower limit; an upper one by default.
    """

    name: str
    unit: str
    ours: float
    baseline: float
    ratio: float
    spread: tuple[float, float]
    target: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


async def run_in_turn(sides: Mapping[str, Round[T]], rounds: int) -> dict[str, list[T]]:
    """Run all sides in turn and return the figures of each, without those of a first warm-up round."""
    for run in sides.values():
        await run()
    figures: dict[str, list[T]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        gc.collect()
        gc.disable()
        try:
            first = number % len(names)
            for name in names[first:] + names[:first]:
                figures[name].append(await sides[name]())
        finally:
            gc.enable()
    return figures


async def run_pairs(ours: Round[T], baseline: Round[T], rounds: int) -> list[tuple[T, T]]:
    """Run two sides in turn and return the figures of each round as a pair."""
    figures = await run_in_turn({"ours": ours, "baseline": baseline}, rounds)
    return list(zip(figures["ours"], figures["baseline"], strict=True))


def row_of_pairs(
    name: str, unit: str, pairs: Sequence[tuple[float, float]], *, target: float, at_least: bool = False
) -> Row:
    """Build a row from pairs (ours, baseline)."""
    ours, baseline = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs]
    return Row(name, unit, ours, baseline, statistics.median(ratios), (min(ratios), max(ratios)), target, at_least)


async def compare(
    name: str, unit: str, ours: Round[float], baseline: Round[float], *, target: float, rounds: int
) -> Row:
    """Run two sides in turn and build their row; a smaller figure is better."""
    return row_of_pairs(name, unit, await run_pairs(ours, baseline, rounds), target=target)


def row_of_limit(name: str, unit: str, value: float, limit: float) -> Row:
    """Build a row that compares one figure with its upper limit."""
    return row_of_pairs(name, unit, [(value, limit)], target=1.0)


def ratio_cells(ours: Sequence[float], baseline: Sequence[float], *, unit: str) -> list[str | int | float]:
    """Return two table cells with the median of `ours` and the ratios of the rounds, as median and range."""
    ratios = [a / b for a, b in zip(ours, baseline, strict=True)]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return [f"{statistics.median(ours):,.4g} {unit}", ratio]
