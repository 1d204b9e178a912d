"""Cancel tasks at their deadline, by one timer for all, since one for each costs as much as parsing an event."""

from __future__ import annotations

import asyncio
from typing import Any


class Deadlines:
    """Limit the time of ``with`` blocks, one in each task, to the same number of seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[asyncio.Task[Any] | None, float] = {}  # oldest first
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        """Cancel the task when its time is over."""
        loop = asyncio.get_running_loop()
        self._until[asyncio.current_task()] = loop.time() + self._seconds
        if self._timer is None or self._loop is not loop:
            self._loop, self._timer = loop, loop.call_later(self._seconds, self._cancel_late)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raise TimeoutError in place of that cancellation."""
        task = asyncio.current_task()
        late = self._until.pop(task, None) is None and task is not None and not task.uncancel()
        if late and kind is asyncio.CancelledError:
            raise TimeoutError from None

    def _cancel_late(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        for task, until in [*self._until.items()]:
            if until > loop.time():
                self._timer = loop.call_at(until, self._cancel_late)
                return
            del self._until[task]
            if task is not None:
                task.cancel()
