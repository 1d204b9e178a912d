"""Refresh the token in the background, before callers have to wait for a new one."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Final, Protocol

import attrs

from ..account import AccountLog
from .clock import NEVER, Clock
from .schedule import Schedule, schedule_of

_SLICE: Final = 30.0
_PAUSE_AFTER_A_BUG: Final = 60.0


class Refreshable(Protocol):
    """The part of the holder that the background uses."""

    @property
    def unsaved(self) -> bool:
        """Whether the store has missed something."""
        ...

    def refresh_at(self) -> float:
        """Return when to refresh, on `Clock.now`; infinity for never."""
        ...

    def refresh(self) -> None:
        """Start a refresh unless an attempt is running. The end of an attempt calls `Refresher.wake`."""
        ...

    async def save_back(self) -> None:
        """Write to the store what it missed."""
        ...


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Refresher:
    """The background of one holder. It has no task of its own, and shares the timer of its event loop.

    It looks every 30 seconds, because asyncio's clock stops while the machine sleeps: after a resume it notices the
    time within 30 seconds.

    Args:
        holder: says when to refresh, and does it.
        clock: the holder's.
        log: the account's.
        enabled: False to refresh nothing in the background.

    Attributes:
        due: when it looks next, on the event loop's clock; infinity for never.
    """

    _holder: Refreshable
    _clock: Clock
    _log: AccountLog
    enabled: bool = True
    due: float = attrs.field(init=False, default=NEVER)
    _loop: asyncio.AbstractEventLoop = attrs.field(init=False, factory=asyncio.get_running_loop)
    _schedule: Schedule = attrs.field(init=False)
    _saving: asyncio.Task[None] | None = attrs.field(init=False, default=None)
    _is_broken: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._schedule = schedule_of(self._loop)

    def __lt__(self, other: object) -> bool:
        """Compare two that are due at the same time, for the schedule; a number for each would take more memory."""
        return False

    @property
    def dormant(self) -> bool:
        """Whether it does not look before it is woken."""
        return self.due == NEVER

    def wake(self) -> None:
        """Look now, at the next turn of the event loop."""
        self._look_after(0.0)

    def look(self) -> bool:
        """Refresh if it is time, write what the store missed, and look again later."""
        self.due = NEVER
        try:
            delay = self._holder.refresh_at() - self._clock.now()
            if delay <= 0:
                self._holder.refresh()
                return True
            if is_saving := self._holder.unsaved and self._saving is None:
                self._saving = asyncio.Task(self._save_back(), loop=self._loop, context=contextvars.Context())
            if delay < NEVER or is_saving:
                self._look_after(min(delay, _SLICE))
        except Exception:
            self._pause("the background refresh of the token failed unexpectedly (a bug)")
            return False
        self._is_broken = self._is_broken and is_saving
        return is_saving

    async def stop(self) -> None:
        """Look no more, and end what was started."""
        self.disable()
        if (saving := self._saving) is not None:
            saving.cancel()
            await asyncio.wait([saving])

    def disable(self) -> None:
        """Look no more."""
        self.enabled, self.due = False, NEVER

    def _look_after(self, delay: float) -> None:
        due = self._loop.time() + delay
        if self.enabled and due < self.due:
            self.due = due
            self._schedule.add(self)

    async def _save_back(self) -> None:
        try:
            await self._holder.save_back()
        except Exception:
            self._pause("writing to the token store failed unexpectedly (a bug)")
        finally:
            self._saving = None

    def _pause(self, what: str) -> None:
        """Log a bug once per change of state. Callers mint for themselves meanwhile."""
        if not self._is_broken:
            self._log.exception(what)
        self._is_broken = True
        self._look_after(_PAUSE_AFTER_A_BUG)
