"""Looking again and again at what the server does later, with growing pauses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Final

from .policy import APIPolicy

_GROWTH: Final = 1.6
_JITTER: Final = (0.8, 1.2)


async def comes_about(look: Callable[[], Awaitable[bool]], policy: APIPolicy, limit: timedelta) -> bool:
    """Look until it has come about, or for as long as `limit`, and once for no time at all; whether it has."""
    if limit <= timedelta(0):
        return await look()
    deadline = asyncio.timeout(limit.total_seconds())
    try:
        async with deadline:
            for pause in pauses(policy):
                if await look():
                    return True
                await asyncio.sleep(pause)
    except TimeoutError:
        if not deadline.expired():
            raise
    return False


def pauses(policy: APIPolicy) -> Iterator[float]:
    """Seconds to wait between two looks, without end."""
    pause, most = policy.poll_first.total_seconds(), policy.poll_most.total_seconds()
    while True:
        yield pause * random.uniform(*_JITTER)
        pause = min(pause * _GROWTH, most)
