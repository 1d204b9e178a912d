"""So many starts in a while, and no more: first come, first served."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from ..errors import SessionClosedError

# The server counts when a request arrives, we when it starts: two that were far enough apart may arrive nearer.
_MARGIN: Final = 1.02


class Pace:
    """At most `most` starts in any `seconds`, on the event loop's clock.

    Each waiter wakes once, at its own turn; one that is cancelled gives its turn to the next.

    Args:
        most: how many starts.
        seconds: the window that they may fall into.
    """

    __slots__ = ("_held_until", "_most", "_taken", "_timer", "_waiting", "window")

    def __init__(self, most: int, seconds: float) -> None:
        self.window = seconds * _MARGIN
        self._most = most
        self._taken: deque[float] = deque()
        self._held_until = 0.0
        self._waiting: deque[asyncio.Future[float]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self) -> None:
        """Come back when the next start is yours.

        Raises:
            SessionClosedError: `close` was called meanwhile.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting and self._next() <= (now := loop.time()):
            self._take(now)
            return
        turn: asyncio.Future[float] = loop.create_future()
        self._waiting.append(turn)
        if self._timer is None:
            self._arm(loop)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                # Granted, and never used. Where the loop stood still for a whole window, another has its place already.
                with contextlib.suppress(ValueError):
                    self._taken.remove(turn.result())
                self._arm(loop)
            raise

    def hold(self, until: float) -> None:
        """No start before `until` (loop time): the server has had enough."""
        self._held_until = max(self._held_until, until)

    def close(self) -> None:
        """Send everybody home."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(SessionClosedError("this VBCSession was closed: the call was not sent"))

    def _next(self) -> float:
        """When the next start may be."""
        oldest = self._taken[0] + self.window if len(self._taken) >= self._most else 0.0
        return max(oldest, self._held_until)

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
        # A loop wakes its timers up to one tick of the clock early. What was due then is due now, or it would be
        # armed again and again for a time that never quite comes.
        now = max(loop.time(), due)
        while self._waiting and self._next() <= now:
            turn = self._waiting.popleft()
            if not turn.done():
                self._take(now)
                turn.set_result(now)
        self._arm(loop)
