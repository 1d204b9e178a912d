"""Refresh the token in the background, before callers have to wait for a new one."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from typing import Final, Protocol

import attrs

from ..account import AccountLog
from .clock import Clock

_SLICE: Final = 30.0
_NEVER: Final = float("inf")
_PAUSE_AFTER_A_BUG: Final = 60.0


class Refreshable(Protocol):
    """The part of the holder that the background task uses."""

    def refresh_at(self) -> float:
        """Return when to refresh, on `Clock.now`; infinity for never."""
        ...

    async def refresh(self) -> None:
        """Refresh now."""
        ...

    async def save_back(self) -> None:
        """Write to the store what it missed."""
        ...


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Refresher:
    """The background task, which starts with the first token and survives any exception.

    It sleeps at most 30 seconds at a time, because asyncio's clock stops while the machine sleeps: after a resume the
    loop then notices the time within 30 seconds.

    Args:
        holder: says when to refresh, and does it.
        clock: the holder's.
        log: the account's.
        enabled: False to refresh nothing in the background.

    Attributes:
        dormant: whether the task sleeps until it is woken.
    """

    _holder: Refreshable
    _clock: Clock
    _log: AccountLog
    enabled: bool = True
    _loop: asyncio.AbstractEventLoop = attrs.field(init=False, factory=asyncio.get_running_loop)
    _context: contextvars.Context = attrs.field(init=False, factory=contextvars.Context)
    _task: asyncio.Task[None] | None = attrs.field(init=False, default=None)
    _alarm: asyncio.Future[None] | None = attrs.field(init=False, default=None)
    _timer: asyncio.TimerHandle | None = attrs.field(init=False, default=None)
    dormant: bool = attrs.field(init=False, default=False)

    def wake(self) -> None:
        """Compute the time of the next refresh again; start the task on the first call."""
        if not self.enabled:
            self.dormant = True
            return
        self.dormant = False
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._run(), name="truecaller_vbc refresher", context=self._context)
            # Suppress asyncio's "Task was destroyed" warning when the loop closes first.
            with contextlib.suppress(AttributeError):
                self._task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        elif self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    @property
    def was_cancelled(self) -> bool:
        """Whether other code has cancelled the task, so that it must be started again."""
        return self._task is not None and self._task.done()

    async def stop(self) -> None:
        """Cancel the task and wait for its end."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._disarm()

    async def _run(self) -> None:
        broken = False
        while True:
            try:
                delay = self._holder.refresh_at() - self._clock.now()
                if delay > 0:
                    await self._armed(delay)
                    self._disarm()
                    await self._holder.save_back()
                else:
                    await self._holder.refresh()
                broken = False
            except Exception:
                # Logged once per change of state, and never in a busy loop. Callers mint for themselves meanwhile.
                if not broken:
                    self._log.exception("the background refresh of the token failed unexpectedly (a bug)")
                broken = True
                await asyncio.sleep(_PAUSE_AFTER_A_BUG)

    def _armed(self, delay: float) -> asyncio.Future[None]:
        """Return a future that is done after `delay`, after 30 seconds, or on `wake`, whichever is first."""
        self._alarm = alarm = self._loop.create_future()
        if delay < _NEVER:
            self._timer = self._loop.call_later(min(delay, _SLICE), _ring, alarm, context=self._context)
        self.dormant = self._timer is None
        return alarm

    def _disarm(self) -> None:
        self.dormant = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _ring(alarm: asyncio.Future[None]) -> None:
    if not alarm.done():
        alarm.set_result(None)
