"""Looking again and again at what the server does later, with growing pauses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from .policy import APIPolicy

_GROWTH: Final = 1.6
_JITTER: Final = (0.8, 1.2)


def pauses(policy: APIPolicy) -> Iterator[float]:
    """Seconds to wait between two looks, without end: the caller has the deadline."""
    pause, most = policy.poll_first.total_seconds(), policy.poll_most.total_seconds()
    while True:
        yield pause * random.uniform(*_JITTER)
        pause = min(pause * _GROWTH, most)
