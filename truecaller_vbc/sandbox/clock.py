"""Measure the sandbox's time with one tick source, and derive the wall clock from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

_FEWEST_FRACTION_DIGITS = 2


class SandboxClock:
    """Count seconds of `tick` (the running loop's time by default), and derive the wall time.

    The wall clock is read once, by `start`. So ``Date`` and ``created_at`` agree with each other and with
    `tick`, even where `tick` is virtual and a test jumps an hour ahead.
    """

    tick: Callable[[], float]
    _started: float
    _started_wall: datetime

    def __init__(self, tick: Callable[[], float] | None) -> None:
        self._given = tick
        self._date = (-1, "")

    def start(self) -> None:
        """Count from now on; must be called first."""
        self.tick = self._given or asyncio.get_running_loop().time
        self._started = self.tick()
        self._started_wall = datetime.now(UTC)

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return self.tick() - self._started

    def wall(self, elapsed: float) -> datetime:
        """Return the aware wall time at `elapsed` seconds."""
        return self._started_wall + timedelta(seconds=elapsed)

    def wall_ms(self) -> float:
        """Return the current wall time in epoch milliseconds, which record windows are compared with."""
        return self._started_wall.timestamp() * 1000 + self.elapsed() * 1000

    def date(self) -> str:
        """Return the current ``Date`` header."""
        wall = self.wall(self.elapsed())
        second = int(wall.timestamp())
        if second != self._date[0]:
            self._date = (second, format_datetime(wall, usegmt=True))
        return self._date[1]


def iso(wall: datetime) -> str:
    """Write `wall` in UTC as the documents do, with two to six digits of a second and a Z."""
    digits = f"{wall.microsecond:06}".rstrip("0").ljust(_FEWEST_FRACTION_DIGITS, "0")
    return f"{wall:%Y-%m-%dT%H:%M:%S}.{digits}Z"
