"""Provide a clock for decisions, a clock that other machines understand, and the meaning of foreign time stamps."""

from __future__ import annotations

import functools
import time
from collections.abc import Hashable
from datetime import UTC, datetime
from typing import Final, Protocol

_MAX_REMEMBERED: Final = 160
"""More than the entries of one ledger, so that reading a document twice forgets none of its stamps in between."""
_NO_TIMES: Final[dict[Hashable, float]] = {}
"""Never written to: a session without a token needs no dictionary of its own."""


class Clock(Protocol):
    """The time as the token code sees it; tests inject their own."""

    def now(self) -> float:
        """Return seconds since an arbitrary start. Never steps back, and counts the time that a machine sleeps."""
        ...

    def wall(self) -> float:
        """Return seconds since 1970 (UTC), which other machines understand but an administrator can change."""
        ...


class SystemClock:
    """Clocks of a machine that lacks ``CLOCK_BOOTTIME``.

    asyncio's clock (``CLOCK_MONOTONIC``) stops while a laptop or a virtual machine sleeps, but tokens age meanwhile.
    So `now` advances by whichever of the wall clock and the monotonic clock has advanced further: a token is never
    believed to be younger than it is.
    """

    __slots__ = ("_mono", "_now", "_wall")

    def __init__(self) -> None:
        self._mono = time.monotonic()
        self._wall = time.time()
        self._now = self._mono

    def now(self) -> float:
        """Return seconds since an arbitrary start."""
        mono, wall = time.monotonic(), time.time()
        self._now += max(mono - self._mono, wall - self._wall)
        self._mono, self._wall = mono, wall
        return self._now

    def wall(self) -> float:
        """Return seconds since 1970."""
        return time.time()


class BootClock:
    """Linux's ``CLOCK_BOOTTIME``, which cannot be set and counts suspend."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        # A partial of a C function: it costs readers of the token no Python frame.
        self.now = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Return seconds since 1970."""
        return time.time()


def system_clock() -> Clock:
    """Return the best clock of this machine."""
    return _boot_clock() if hasattr(time, "CLOCK_BOOTTIME") else SystemClock()


@functools.cache
def _boot_clock() -> BootClock:
    return BootClock()


def as_datetime(wall: float) -> datetime:
    """Convert seconds since 1970 to an aware datetime."""
    return datetime.fromtimestamp(wall, UTC)


class RemoteTimes:
    """Remember the local time that each foreign time stamp means, fixed when the stamp is first read.

    Converting a stamp again after a change of the wall clock would move deadlines, again with each change. Several
    stamps are kept, not only the newest: a write may fail, and then an old stamp is read once more.
    """

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times = _NO_TIMES

    def __len__(self) -> int:
        return len(self._times)

    def local(self, key: Hashable, at: float) -> float:
        """Return the local time first computed for `key`, or remember `at` for it."""
        at = self.get(key, at)
        self.fix(key, at)
        return at

    def get(self, key: Hashable, otherwise: float) -> float:
        """Return the local time that was remembered for `key`, or `otherwise`, which is not remembered."""
        return self._times.get(key, otherwise)

    def fix(self, key: Hashable, at: float) -> None:
        """Remember that `key` means the local time `at`, whatever was known before."""
        if self._times is _NO_TIMES:
            self._times = {}
        self._times.pop(key, None)
        self._times[key] = at
        if len(self._times) > _MAX_REMEMBERED:
            del self._times[next(iter(self._times))]
