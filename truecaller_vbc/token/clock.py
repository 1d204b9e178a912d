"""Two clocks: one that decides, one that strangers share."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the holder knows of time; tests inject their own."""

    def now(self) -> float:
        """Seconds since an arbitrary start: never steps back, and counts the time that a machine sleeps."""
        ...

    def wall(self) -> float:
        """Seconds since 1970 (UTC), which another process understands and which may be stepped."""
        ...


class SystemClock:
    """The machine's own clocks.

    asyncio's clock (``CLOCK_MONOTONIC``) stands still while a laptop or a virtual machine sleeps, and a token
    ages all the same. ``CLOCK_BOOTTIME`` counts on; where there is none, whichever of the wall clock and the
    monotonic clock has gone further decides, so that a token is never believed to be younger than it is.
    """

    __slots__ = ("_mono", "_now", "_wall")

    def __init__(self) -> None:
        self._mono = time.monotonic()
        self._wall = time.time()
        self._now = self._mono

    def now(self) -> float:
        """Seconds since an arbitrary start."""
        mono, wall = time.monotonic(), time.time()
        self._now += max(mono - self._mono, wall - self._wall)
        self._mono, self._wall = mono, wall
        return self._now

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()


class BootClock:
    """Linux: the kernel's clock that nobody can set and that counts suspend."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        # Without a frame of Python's in between, since a reader of the token waits for nothing else.
        self.now = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Seconds since 1970."""
        return time.time()


def system_clock() -> Clock:
    """The best clock that this machine has."""
    return _boot_clock() if hasattr(time, "CLOCK_BOOTTIME") else SystemClock()


@functools.cache
def _boot_clock() -> BootClock:
    return BootClock()


def aware(wall: float) -> datetime:
    """Seconds since 1970 as an aware datetime."""
    return datetime.fromtimestamp(wall, UTC)
