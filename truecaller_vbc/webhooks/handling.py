"""Handle events once: claim each, run its handler, and settle it, now or from what was stored."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, Self, cast

import attrs

from ..errors import ClaimLostError
from .claims import ClaimState
from .events import Event

_log = logging.getLogger("truecaller_vbc")
Handler = Callable[[Any], Awaitable[object]]
_HANDLER_SHARE: Final = 0.8  # of a lease: a handler in the background ends before its claim does
_POLL: Final = 1.0
_CONCURRENCY: Final = 8


@attrs.define
class _Claim:
    event_id: str
    owner: str = attrs.Factory(lambda: f"{random.getrandbits(64):x}")
    settled: bool = False


_current: ContextVar[_Claim | None] = ContextVar("truecaller_vbc_claim", default=None)


class HandlerRunner:
    """Claim events, run their handlers, and settle them.

    Args:
        claims: where claims live; with ``take`` for stored events.
        lease: seconds after which the claim of a dead process ends, and a stored event that failed is due again.
        stores: whether events are stored first, and handled in the background.
    """

    def __init__(self, claims: Any, lease: float, *, stores: bool) -> None:
        self._claims = claims
        self._stores = stores
        self._lease = lease
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._working = False

    async def commit(self, event: Event, work: Callable[[Any], object]) -> None:
        """Do `work` and settle `event` in one transaction, so that the event has its effect exactly once.

        Call it in a handler. `work` gets the `sqlite3.Connection` of a file, in a thread; or a pipeline (MULTI) of
        Redis, to queue commands on; or None, in memory. If it raises, neither is done.

        Raises:
            ClaimLostError: the claim has ended, so that another receiver may have the event; nothing was done.
        """
        claim = _current.get()
        if claim is None or claim.event_id != event.event_id:
            raise ClaimLostError(f"event {event.event_id} is not being handled here: call commit in its handler")
        await self._claims.settle(claim.event_id, claim.owner, work)
        claim.settled = True

    async def open(self) -> Self:
        """Start to work off what is stored, if that is the mode."""
        if self._stores and not self._working:
            self._working = True
            self._tasks = [asyncio.create_task(self._work()) for _ in range(_CONCURRENCY)]
        return self

    async def close(self) -> None:
        """Wait for the handlers in the background, each within its time limit, and close files and connections."""
        self._working = False
        self._wake.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._claims.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _find(self, body: bytes) -> tuple[Event, Handler] | Any:
        """Return the event in a body and its handler as a tuple, or anything else."""

    async def _handle(self, event: Event, handler: Handler, body: bytes | None = None) -> ClaimState:
        """Claim an event and run its handler; with a `body`, only store it.

        GRANTED means that it was handled or stored, RUNNING that it must come again.
        """
        claim = _Claim(event.event_id)
        try:
            state: ClaimState = await self._claims.claim(claim.event_id, claim.owner, self._lease, body)
        except (Exception, asyncio.CancelledError) as error:
            await self._release(claim)  # it may have been granted, and its answer lost
            self._failed("an event could not be claimed", error)
            return ClaimState.RUNNING
        if body is not None:
            self._wake.set()
        elif state is ClaimState.GRANTED:
            return await self._run(claim, event, handler)
        return state

    async def _run(self, claim: _Claim, event: Event, handler: Handler) -> ClaimState:
        """Run the handler of a claimed event, and settle it. After a failure, release it."""
        _current.set(claim)
        try:
            await handler(event)
        except (Exception, asyncio.CancelledError) as error:
            if not claim.settled:
                await self._release(claim)
            self._failed(f"the handler of {type(event).__name__} {claim.event_id} failed", error)
            return ClaimState.GRANTED if claim.settled else ClaimState.RUNNING
        try:
            if not claim.settled:
                await self._claims.settle(claim.event_id, claim.owner)
        except Exception as error:  # it is answered as handled; a duplicate after the lease is handled again
            self._failed(f"event {claim.event_id} was handled, and could not be settled", error)
        return ClaimState.GRANTED

    async def _release(self, claim: _Claim) -> None:
        try:
            await self._claims.release(claim.event_id, claim.owner, self._lease * random.uniform(0.8, 1.2))
        except Exception as error:  # then the claim ends after its lease
            self._failed(f"the claim of {claim.event_id} could not be released", error)

    @staticmethod
    def _failed(what: str, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            _log.warning("webhook: %s: it was too slow, or the program ends", what)
            raise error
        _log.warning("webhook: %s", what, exc_info=error)

    async def _work(self) -> None:
        while self._working:
            self._wake.clear()
            claim = _Claim("")
            taken = None
            try:
                if (taken := await self._claims.take(claim.owner, self._lease)) is not None:
                    claim.event_id, body = taken
                    if isinstance(found := self._find(body), tuple):
                        event, handler = cast(tuple[Event, Handler], found)
                        async with asyncio.timeout(self._lease * _HANDLER_SHARE):
                            await self._run(claim, event, handler)
                    else:  # another release of the program, which has its handler, stored it
                        await self._release(claim)
            except (TimeoutError, asyncio.CancelledError):  # it was logged; a handler may raise the latter itself
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
            except Exception as error:  # an outage of the place must not end this task
                self._failed("a stored event could not be taken", error)
            if taken is None and self._working:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _POLL * random.uniform(1, 2))
