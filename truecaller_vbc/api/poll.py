"""Looking again and again at what the server does later, with growing pauses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from typing import Final

from .policy import APIPolicy

_GROWTH: Final = 1.6
_JITTER: Final = (0.8, 1.2)


async def looks(policy: APIPolicy) -> AsyncGenerator[None]:
    """Come back at once, and then again after each pause, without end: the caller has the deadline."""
    pause, most = policy.poll_first.total_seconds(), policy.poll_most.total_seconds()
    while True:
        yield
        await asyncio.sleep(pause * random.uniform(*_JITTER))
        pause = min(pause * _GROWTH, most)
