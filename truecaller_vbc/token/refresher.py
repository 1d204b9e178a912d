"""The background task: it keeps a token that is in use from ever getting old."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from typing import Final, Protocol

from .clock import Clock

_log = logging.getLogger("truecaller_vbc")
_SLICE: Final = 30.0
_NEVER: Final = float("inf")
_AFTER_A_BUG: Final = 60.0


class Refreshable(Protocol):
    """What the background knows of the holder."""

    refresh_at: float

    async def refresh(self) -> None:
        """Refresh now, and set `refresh_at` anew."""
        ...

    async def save_back(self) -> None:
        """Bring the store what it missed."""
        ...


class Refresher:
    """A plain loop that cannot die. It starts with the first token, and sleeps in slices.

    In slices because asyncio's clock stands still while the machine sleeps: after a resume it takes one slice, not
    the rest of the token's life, until the loop sees what time it is.

    Args:
        holder: whom to ask when, and to call then.
        clock: the holder's.
    """

    __slots__ = ("_alarm", "_clock", "_context", "_holder", "_loop", "_task", "_timer")

    def __init__(self, holder: Refreshable, clock: Clock) -> None:
        self._holder = holder
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.Context()
        self._task: asyncio.Task[None] | None = None
        self._alarm: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Look at `refresh_at` again, and start with the first call."""
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._run(), name="truecaller_vbc refresher", context=self._context)
            # A loop that is closed with the session still open has its reasons; this task is not one to warn of.
            with contextlib.suppress(AttributeError):
                self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        elif self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    async def stop(self) -> None:
        """Cancel the loop and wait until it is gone."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._disarm()

    async def _run(self) -> None:
        broken = False
        while True:
            try:
                if self._holder.refresh_at > self._clock.now():
                    await self._armed()
                    self._disarm()
                    await self._holder.save_back()
                else:
                    await self._holder.refresh()
                broken = False
            except Exception:
                # Once per change of state, and never in a hot loop: callers mint for themselves meanwhile.
                if not broken:
                    _log.exception("the token's background refresh failed in a way that it should not")
                broken = True
                await asyncio.sleep(_AFTER_A_BUG)

    def _armed(self) -> asyncio.Future[None]:
        """An alarm that rings when it is time, after a slice at the latest, or when somebody wakes us."""
        self._alarm = alarm = self._loop.create_future()
        delay = self._holder.refresh_at - self._clock.now()
        if delay < _NEVER:
            self._timer = self._loop.call_later(min(delay, _SLICE), _ring, alarm, context=self._context)
        return alarm

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _ring(alarm: asyncio.Future[None]) -> None:
    if not alarm.done():
        alarm.set_result(None)
