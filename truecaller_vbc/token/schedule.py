"""Wake the background work of all sessions of an event loop by one timer, a few pieces at a time."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import weakref
from typing import Any, Final, Protocol

from .clock import NEVER

_PAUSE: Final = 0.01
_MOST_STARTS: Final = 10
_MOST_LOOKS: Final = 200


class Sleeper(Protocol):
    """What a schedule wakes."""

    @property
    def due(self) -> float:
        """When to wake it, on the event loop's clock. Earlier entries of the same sleeper are outdated."""
        ...

    def look(self) -> bool:
        """Do what is due. Return whether work was started that takes time."""
        ...

    def __lt__(self, other: Any) -> bool:
        """Compare two that are due at the same time; any answer will do."""
        ...


class Schedule:
    """One timer for any number of sleepers.

    Where thousands are due at once, as after a suspend, they are started over seconds, so that the loop stays free.

    Args:
        loop: whose clock and timer are used.
    """

    __slots__ = ("__weakref__", "_at", "_entries", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._entries: list[tuple[float, Sleeper]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._at = NEVER

    def add(self, sleeper: Sleeper) -> None:
        """Wake the sleeper when it is due."""
        heapq.heappush(self._entries, (sleeper.due, sleeper))
        self._arm(sleeper.due)

    def _arm(self, at: float) -> None:
        if at >= self._at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        # In an empty context: the context variables of a request must not live on in the timer.
        self._timer = self._loop.call_at(at, self._ring, context=contextvars.Context())

    def _ring(self) -> None:
        self._timer, self._at = None, NEVER
        entries = self._entries
        looks = starts = 0
        try:
            while entries and entries[0][0] <= self._loop.time() and looks < _MOST_LOOKS and starts < _MOST_STARTS:
                due, sleeper = heapq.heappop(entries)
                if sleeper.due == due:
                    looks += 1
                    starts += sleeper.look()
        finally:
            if entries:
                self._arm(max(entries[0][0], self._loop.time() + _PAUSE))


_schedules: Final[weakref.WeakValueDictionary[int, Schedule]] = weakref.WeakValueDictionary()


def schedule_of(loop: asyncio.AbstractEventLoop) -> Schedule:
    """Return the schedule of this loop."""
    schedule = _schedules.get(id(loop))
    if schedule is None:
        _schedules[id(loop)] = schedule = Schedule(loop)
    return schedule
