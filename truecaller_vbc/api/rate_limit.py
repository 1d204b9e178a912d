"""Limit how many requests start in a window, first come, first served."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from ..errors import PaceExceededError, SessionClosedError

# The server counts arrivals and this limiter counts starts: requests may arrive closer together than they started.
_MARGIN: Final = 1.02


class RateLimiter:
    """Limit starts to `most` in any `seconds`, on the event loop's clock.

    Each waiter wakes once, when it may start; a cancelled waiter gives its place to the next.

    Args:
        most: number of starts in a window.
        seconds: length of the window.
    """

    __slots__ = ("_most", "_paused_until", "_taken", "_timer", "_waiting", "window")

    def __init__(self, most: int, seconds: float) -> None:
        self.window: float = seconds * _MARGIN
        self._most = most
        self._taken: deque[float] = deque()
        self._paused_until = 0.0
        self._waiting: deque[asyncio.Future[float]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Return how many calls wait for their turn."""
        return len(self._waiting)

    async def acquire(self, max_wait: float | None = None) -> float:
        """Wait until the next start is allowed, and return how many seconds that took.

        Args:
            max_wait: how many seconds to wait at most; None for no limit.

        Raises:
            PaceExceededError: `max_wait` has passed.
            SessionClosedError: `close` was called meanwhile.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting and self._next() <= (now := loop.time()):
            self._take(now)
            return 0.0
        began = loop.time()
        waiter: asyncio.Future[float] = loop.create_future()
        self._waiting.append(waiter)
        if self._timer is None:
            self._arm(loop)
        limit = None if max_wait is None else loop.call_later(max_wait, self._give_up, waiter, max_wait)
        try:
            granted = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # Granted but not used. If the loop was blocked for a whole window, the place has been reused already.
                with contextlib.suppress(ValueError):
                    self._taken.remove(waiter.result())
                self._arm(loop)
            raise
        finally:
            if limit is not None:
                limit.cancel()
        # The loop may have been blocked since: count the start when it happens.
        with contextlib.suppress(ValueError):
            self._taken.remove(granted)
            self._taken.append(loop.time())
        return loop.time() - began

    def _give_up(self, waiter: asyncio.Future[float], max_wait: float) -> None:
        if not waiter.done():
            waiting = len(self._waiting)
            self._waiting.remove(waiter)
            text = (
                f"the call was not sent: {waiting} calls wait for their turn, and APIPolicy.max_wait ({max_wait:g} s)"
            )
            waiter.set_exception(PaceExceededError(f"{text} has passed; send fewer at a time", waiting=waiting))

    def pause_until(self, until: float) -> None:
        """Allow no start before `until` (loop time)."""
        self._paused_until = max(self._paused_until, until)

    def close(self) -> None:
        """Fail all waiters with SessionClosedError."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(SessionClosedError("this VBCSession was closed: the call was not sent"))

    def _next(self) -> float:
        """Return when the next start is allowed."""
        oldest = self._taken[0] + self.window if len(self._taken) >= self._most else 0.0
        return max(oldest, self._paused_until)

    def _take(self, now: float) -> None:
        if len(self._taken) >= self._most:
            self._taken.popleft()
        self._taken.append(now)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = self._next()
        self._timer = loop.call_at(due, self._wake, loop, due) if self._waiting else None

    def _wake(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._timer = None
        # A loop may fire its timers up to one clock tick early. Use the due time then, or the timer would be set again
        # and again for a time that is never reached.
        now = max(loop.time(), due)
        while self._waiting and self._next() <= now:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._take(now)
                waiter.set_result(now)
        self._arm(loop)
