"""Cancel tasks at their deadline, by one timer for all, since one for each costs as much as parsing an event."""

from __future__ import annotations

import asyncio
from typing import Any, cast


class Deadlines:
    """Limit each task to the same number of seconds, from `start` to `stop`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[asyncio.Task[Any], float] = {}  # oldest first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> asyncio.Task[Any]:
        """Cancel the current task when its time is over; return it."""
        loop, task = asyncio.get_running_loop(), cast("asyncio.Task[Any]", asyncio.current_task())
        self._until[task] = loop.time() + self._seconds
        if self._timer is None or self._loop is not loop:
            self._loop, self._timer = loop, loop.call_later(self._seconds, self._cancel_late)
        return task

    def stop(self, task: asyncio.Task[Any]) -> bool:
        """Return whether this has cancelled the task, and nothing else has."""
        return self._until.pop(task, None) is None and not task.uncancel()

    def _cancel_late(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        for task, until in [*self._until.items()]:
            if until > loop.time():
                self._timer = loop.call_at(until, self._cancel_late)
                return
            del self._until[task]
            task.cancel()
