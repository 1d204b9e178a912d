"""Two things timed beside each other: A B A B ..., and the ratio of each pair. Only the ratio is worth quoting.

Fair, since whatever else the machine does meets both sides of a pair, each side goes first every other time, and the
garbage collector runs between the rounds, never within one.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import attrs

T = TypeVar("T")
Timed: TypeAlias = Callable[[], Awaitable[float]]


@attrs.frozen
class Row:
    """One line of the table.

    Args:
        name: what is compared.
        unit: of `ours` and `beside`.
        ours: the median.
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


async def interleaved(
    ours: Callable[[], Awaitable[T]], beside: Callable[[], Awaitable[T]], rounds: int
) -> list[tuple[T, T]]:
    """Run both in turn, after one run of each that does not count."""
    await ours(), await beside()
    pairs = []
    for number in range(rounds):
        gc.collect()
        gc.disable()
        try:
            if number % 2:
                theirs, mine = await beside(), await ours()
            else:
                mine, theirs = await ours(), await beside()
        finally:
            gc.enable()
        pairs.append((mine, theirs))
    return pairs


async def in_turn(timed: Mapping[str, Callable[[], Awaitable[T]]], rounds: int) -> dict[str, list[T]]:
    """Run any number of them in turn, after one run of each that does not count; each round begins with another."""
    for one in timed.values():
        await one()
    found: dict[str, list[T]] = {name: [] for name in timed}
    names = list(timed)
    for number in range(rounds):
        gc.collect()
        gc.disable()
        try:
            first = number % len(names)
            for name in names[first:] + names[:first]:
                found[name].append(await timed[name]())
        finally:
            gc.enable()
    return found


def spread(mine: Sequence[float], theirs: Sequence[float], *, unit: str) -> list[str | int | float]:
    """Two cells: the median of mine, and the ratio of each round to theirs, median and range."""
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return [f"{statistics.median(mine):,.4g} {unit}", ratio]


def paired(name: str, unit: str, pairs: Sequence[tuple[float, float]], *, target: float, at_least: bool = False) -> Row:
    """The row of pairs of figures, (ours, theirs)."""
    mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs]
    return Row(name, unit, mine, theirs, statistics.median(ratios), (min(ratios), max(ratios)), target, at_least)


async def compare(name: str, unit: str, ours: Timed, beside: Timed, *, target: float, rounds: int) -> Row:
    """Run both in turn. Each returns its own figure, of which less is better."""
    return paired(name, unit, await interleaved(ours, beside, rounds), target=target)


def figure(name: str, unit: str, value: float, limit: float) -> Row:
    """The row of one figure beside its limit."""
    return paired(name, unit, [(value, limit)], target=1.0)
