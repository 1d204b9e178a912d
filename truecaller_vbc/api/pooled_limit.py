"""Limit how many requests start in a window for each live token of a pool, with one queue for all."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, Protocol

from .rate_limit import RateLimiter

_MOST_PACES: Final = 32


class Pool(Protocol):
    """The part of the token holder that the limiter uses."""

    @property
    def listeners(self) -> list[Callable[[], object]]:
        """What to call when an attempt to mint has ended."""
        ...

    @property
    def patience(self) -> float:
        """The seconds of a wait above which a further token is asked for."""
        ...

    def live_tokens(self) -> list[Any]:
        """Return all tokens that may be sent, newest first."""
        ...

    def unproven(self) -> Any:
        """Return an older token that the API has not accepted beside the newer one; None if there is no doubt."""
        ...

    def grow(self) -> None:
        """Start to mint a further token, if that is allowed."""
        ...


class PoolProof:
    """Ask the API with an older token of a pool, to learn at once whether it lives beside a newer one.

    Calls would show it as well, but the older token is at its rate when the pool grows.

    Args:
        pool: has the tokens.
        ask: sends a harmless request with a token.
    """

    def __init__(self, pool: Pool, ask: Callable[[Any], Awaitable[object]]) -> None:
        self._pool = pool
        self._ask = ask
        self._asking: asyncio.Task[None] | None = None
        pool.listeners.append(self._tokens_changed)

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    def _tokens_changed(self) -> None:
        if (self._asking is None or self._asking.done()) and (token := self._pool.unproven()) is not None:
            # In an empty context: the context variables of a request must not live on in the task.
            loop = asyncio.get_running_loop()
            self._asking = loop.create_task(self._prove(token), context=contextvars.Context())

    async def _prove(self, token: Any) -> None:
        with contextlib.suppress(Exception):  # a call may prove it later
            await self._ask(token)


class Start(NamedTuple):
    """A start that was granted: the token to send (None: the session gets one), its pace, and the time."""

    token: Any
    pace: RateLimiter
    at: float


class PooledLimiter(RateLimiter):
    """Limit starts to `most` in any `seconds` for each live token.

    A further token is asked for while the last one of the queue would wait for longer than the pool's patience.

    Args:
        most: number of starts in a window, of one token.
        seconds: length of the window.
        pool: has the tokens.
    """

    __slots__ = ("_paces", "_pool", "_seconds")

    def __init__(self, most: int, seconds: float, pool: Pool) -> None:
        super().__init__(most, seconds)
        self._seconds = seconds
        self._pool = pool
        self._paces: dict[str, RateLimiter] = {}
        pool.listeners.append(self._tokens_changed)

    async def start(self, max_wait: float | None) -> tuple[float, Start]:
        """Wait until the next start of any token is allowed; return the seconds that it took, and the start.

        Raises:
            PaceExceededError: `max_wait` has passed.
            SessionClosedError: `close` was called meanwhile.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        if not self._waiting and self.next_start() <= began:
            return 0.0, self.take(began)
        self._grow_if_needed(began)
        start: Start = await self.turn(loop, max_wait)
        return loop.time() - began, start

    def next_start(self) -> float:
        """Return when the next start of any token is allowed (loop time); at once if all have ended."""
        return min((pace.next_start() for _, pace in self._lanes()), default=0.0)

    def take(self, now: float) -> Start:
        """Count a start of the token that is free first."""
        lanes = self._lanes() or [(None, RateLimiter(self._most, self._seconds))]
        token, pace = min(lanes, key=lambda lane: lane[1].next_start())
        return Start(token, pace, pace.take(now))

    def give_back(self, taken: Start) -> None:
        """Forget a start that was granted and not used."""
        taken.pace.give_back(taken.at)

    def move(self, taken: Start, now: float) -> None:
        """Count a start when it happens."""
        taken.pace.move(taken.at, now)

    def _lanes(self) -> list[tuple[Any, RateLimiter]]:
        return [(token, self._pace_of(token.value)) for token in self._pool.live_tokens()]

    def _pace_of(self, value: str) -> RateLimiter:
        if (pace := self._paces.get(value)) is None:
            self._paces[value] = pace = RateLimiter(self._most, self._seconds)
            while len(self._paces) > _MOST_PACES:
                del self._paces[next(iter(self._paces))]
        return pace

    def _tokens_changed(self) -> None:
        if self._waiting:
            loop = asyncio.get_running_loop()
            self._grow_if_needed(loop.time())
            self._arm(loop)

    def _wake(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        super()._wake(loop, due)
        if self._waiting:
            self._grow_if_needed(loop.time())  # a token may have ended meanwhile

    def _grow_if_needed(self, now: float) -> None:
        lanes = max(1, len(self._pool.live_tokens()))
        windows = (len(self._waiting) + 1) // (self._most * lanes)
        if max(self.next_start() - now, 0.0) + windows * self.window > self._pool.patience:
            self._pool.grow()
