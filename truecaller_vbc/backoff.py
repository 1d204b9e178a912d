"""Compute the wait before the next try, which grows with each failure up to a maximum, with a random spread."""

from __future__ import annotations

import random
from typing import Final

_MAX_STEPS: Final = 32
_INFINITY: Final = float("inf")
SPREAD: Final = (0.8, 1.2)


def grown(first: float, count: int, *, most: float = _INFINITY, growth: float = 2.0) -> float:
    """Return the wait after `count` failures in a row, without randomness.

    Args:
        first: the wait after the first failure, in seconds.
        count: failures in a row, from 1 on. Growth stops after 32 more, so that no count overflows.
        most: the longest wait, in seconds.
        growth: the factor by which each wait exceeds the one before.
    """
    return min(first * growth ** min(count - 1, _MAX_STEPS), most)


def backoff(
    first: float,
    count: int,
    *,
    spread: tuple[float, float] = SPREAD,
    most: float = _INFINITY,
    growth: float = 2.0,
) -> float:
    """Return the wait after `count` failures in a row, multiplied by a random factor between the two of `spread`.

    The maximum is applied before the factor, so that even the longest waits of many clients differ.
    """
    return grown(first, count, most=most, growth=growth) * random.uniform(*spread)
