"""Receive webhooks: check the request, claim the event, run its handler, settle it, and answer in time."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import random
import secrets
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar
from urllib.parse import parse_qs

import attrs

from ..errors import ClaimLostError, ConfigurationError, WebhookError
from ..secret import hidden
from .claims import Claims, ClaimState, open_claims
from .events import Event, UnknownEvent, is_json, parse

if TYPE_CHECKING:
    from aiohttp import web

    from .asgi import ASGIApp

_log = logging.getLogger("truecaller_vbc")
E = TypeVar("E", bound=Event)
Handler = Callable[[E], Awaitable[object]]
Mode = Literal["run", "store_then_run"]

_REPLY_MARGIN: Final = 0.1
"""The part of the deadline that is left for releasing a claim and sending the answer."""
_HANDLER_SHARE: Final = 0.8
"""The part of a lease that a handler in the background may take, so that it ends before its claim does."""
_POLL: Final = 1.0
_MOST_BACKOFF: Final = 3600.0
_MOST_BACKOFFS: Final = 10_000
_MOST_QUERY: Final = 4096


@attrs.frozen
class Answer:
    """An HTTP answer: status, JSON body, and further headers."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


_DONE: Final = Answer(200, b'{"status":"done"}')
_KNOWN: Final = Answer(200, b'{"status":"duplicate"}')
_STORED: Final = Answer(200, b'{"status":"stored"}')
_IGNORED: Final = Answer(200, b'{"status":"ignored"}')
_AGAIN: Final = Answer(503, b'{"status":"try again"}')
# Answers before the whole body was read close the connection, so that the rest of it is never read.
_CLOSE: Final = ("Connection", "close")
_NOT_POST: Final = Answer(405, b'{"error":"use POST"}', (("Allow", "POST"), _CLOSE))
_WRONG_KEY: Final = Answer(403, b'{"error":"wrong key"}', (_CLOSE,))
_NOT_JSON: Final = Answer(415, b'{"error":"send application/json in UTF-8, not compressed"}', (_CLOSE,))
_TOO_LARGE: Final = Answer(413, b'{"error":"the body is too large"}', (_CLOSE,))
_TOO_SLOW: Final = Answer(408, b'{"error":"the body came too slowly"}', (_CLOSE,))
_UNREADABLE: Final = Answer(400, b'{"error":"the body is not a known event"}')


@attrs.define
class _Claim:
    event_id: str
    owner: str
    settled: bool = False


_current: ContextVar[_Claim | None] = ContextVar("truecaller_vbc_claim", default=None)


class Receiver:
    """Hand each webhook event to its handler once, and answer Truecaller in time.

    Use it as an async context manager, or call `open` and `close`, so that what was stored is worked off from the
    start, and running handlers are waited for at the end.

    Args:
        handler: gets every event that has no handler of its own (see `on`).
        key: the secret in the URL of the webhook, ``https://…?key=…``, or several that are valid at once. None if the
            URL is protected otherwise.
        seen: where claims live: ``memory://`` (None, for one process), ``file:///path/claims.db`` (SQLite, for the
            processes of one machine), ``redis://host/0``, or an object of the protocol `Claims`.
        mode: ``"run"`` runs the handler and then answers. ``"store_then_run"`` stores the event durably and answers;
            the handler runs in the background, again after failures and restarts, until it succeeds.
        deadline: seconds within which everything is answered, from the moment the headers have arrived.
        lease: seconds after which the claim of a dead process ends. In the background, a handler may take four fifths.
        max_body: size in bytes of the largest body; Truecaller's have under 1 KiB.
        concurrency: handlers in the background at once.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """

    def __init__(
        self,
        handler: Handler[Event] | None = None,
        *,
        key: str | Iterable[str] | None,
        seen: Claims | str | None = None,
        mode: Mode = "run",
        deadline: float = 1.5,
        lease: float = 60.0,
        max_body: int = 64 * 1024,
        concurrency: int = 8,
    ) -> None:
        keys = () if key is None else (key,) if isinstance(key, str) else tuple(key)
        if key is not None and (not keys or not all(isinstance(one, str) and one.strip() for one in keys)):
            raise ConfigurationError("Receiver(key=...) must be texts that are not empty; None for no key at all")
        if not 0 < deadline < lease < math.inf:
            raise ConfigurationError("Receiver needs 0 < deadline < lease, in seconds")
        if max_body < 1 or concurrency < 1:
            raise ConfigurationError("Receiver(max_body=..., concurrency=...) must be 1 or more")
        self._keys = tuple(hidden(one).encode() for one in keys)
        self._claims: Any = open_claims(seen)
        if mode not in ("run", "store_then_run"):
            raise ConfigurationError('Receiver(mode=...) must be "run" or "store_then_run"')
        if mode == "store_then_run" and not (hasattr(self._claims, "put") and hasattr(self._claims, "take")):
            raise ConfigurationError('mode="store_then_run" needs a durable place: seen="file:///…" or "redis://…"')
        self._mode = mode
        self._deadline = deadline
        self._lease = lease
        self._max_body = max_body
        self._concurrency = concurrency
        self._handlers: dict[type[Event], Handler[Any]] = {} if handler is None else {Event: handler}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._worker: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._failures: dict[str, int] = {}
        self._logged: set[str] = set()

    def on(self, kind: type[E]) -> Callable[[Handler[E]], Handler[E]]:
        """Return a decorator that makes a coroutine function the handler of events of this class.

        ``UnknownEvent`` also gets events whose body is only partly understood; ``Event`` gets what has no other.

        Raises:
            ConfigurationError: the class has a handler already.
        """

        def register(handler: Handler[E]) -> Handler[E]:
            if kind in self._handlers:
                raise ConfigurationError(f"{kind.__name__} has a handler already: use one for each class of events")
            self._handlers[kind] = handler
            return handler

        return register

    async def commit(self, event: Event, work: Callable[[Any], object]) -> None:
        """Do `work` and settle `event` in one transaction, so that the event has its effect exactly once.

        Call it in a handler. `work` gets the `sqlite3.Connection` of a file, in a thread; or a pipeline (MULTI) of
        Redis, to queue commands on; or None, in memory. If it raises, neither is done.

        Raises:
            ClaimLostError: the claim has ended, so that another receiver may have the event; nothing was done.
        """
        claim = _current.get()
        if claim is None or claim.event_id != event.event_id or claim.settled:
            raise ClaimLostError(f"event {event.event_id} is not being handled here: call commit once, in its handler")
        await self._claims.settle(claim.event_id, claim.owner, work)
        claim.settled = True

    async def receive(self, method: str, query: str, headers: Mapping[str, str], body: AsyncIterable[bytes]) -> Answer:
        """Answer a request of any framework; `headers` must ignore case or have names in lower case.

        Never raises, whatever the request is; only a cancellation passes.
        """
        until = asyncio.get_running_loop().time() + self._deadline
        if method != "POST":
            return _NOT_POST
        if not self._has_key(query):
            return _WRONG_KEY
        if headers.get("content-encoding", "identity").lower() != "identity":
            return _NOT_JSON
        if (content_type := headers.get("content-type")) and not is_json(content_type):
            return _NOT_JSON
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > len(str(self._max_body)) or int(length) > self._max_body):
            return _TOO_LARGE
        read = bytearray()
        try:
            async with asyncio.timeout_at(until):
                async for chunk in body:
                    read += chunk
                    if len(read) > self._max_body:
                        return _TOO_LARGE
        except TimeoutError:
            return _TOO_SLOW
        return await self._answer(bytes(read), until)

    async def open(self) -> Self:
        """Start to work off what is stored; do nothing in the mode ``"run"``."""
        if self._mode == "store_then_run" and (self._worker is None or self._worker.done()):
            self._wake = asyncio.Event()
            self._worker = asyncio.create_task(self._work_off())
        return self

    async def close(self) -> None:
        """Wait for the running handlers, each within its own time limit, and close files and connections."""
        if (worker := self._worker) is not None:
            self._worker = None
            worker.cancel()
            await asyncio.wait([worker])
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._claims.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def aiohttp(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle a request of aiohttp.web: ``app.router.add_post("/truecaller", receiver.aiohttp)``."""
        from aiohttp import web  # noqa: PLC0415 - a program that only parses needs no server

        answer = await self.receive(request.method, request.query_string, request.headers, request.content.iter_any())
        response = web.Response(status=answer.status, body=answer.body, content_type="application/json")
        response.headers.extend(answer.headers)
        if _CLOSE in answer.headers and request.can_read_body and not request.content.is_eof():
            # aiohttp would read the rest of the body for ten seconds before it closes the connection.
            response.force_close()
            await response.prepare(request)
            await response.write_eof()
            request.protocol.force_close()
        return response

    @property
    def asgi(self) -> ASGIApp:
        """Return an ASGI application: FastAPI, Starlette, Litestar, Quart, Django."""
        from .asgi import ASGIApp  # noqa: PLC0415 - it imports this module

        return ASGIApp(self)

    def __repr__(self) -> str:
        return f"<Receiver mode={self._mode!r}, seen={type(self._claims).__name__}, keys={len(self._keys)}>"

    # Check

    def _has_key(self, query: str) -> bool:
        if not self._keys:
            return True
        given = parse_qs(query, max_num_fields=None).get("key", [""])[0] if len(query) <= _MOST_QUERY else ""
        value = given.encode("utf-8", "replace")
        # All are compared, so that the time does not tell which one is near.
        return sum(hmac.compare_digest(value, key) for key in self._keys) > 0

    def _parsed(self, body: bytes) -> Event | None:
        try:
            return parse(body)
        except WebhookError as error:
            self._log_once(str(error))
            event: UnknownEvent | None = error.event
            return event if event is not None and self._handler(event) is not None else None

    def _handler(self, event: Event) -> Handler[Any] | None:
        return next((self._handlers[kind] for kind in type(event).__mro__ if kind in self._handlers), None)

    # Answer

    async def _answer(self, body: bytes, until: float) -> Answer:
        event = self._parsed(body)
        if event is None:
            return _UNREADABLE
        if self._handler(event) is None:
            self._log_once(f"webhook: {type(event).__name__} has no handler and is ignored: add one with Receiver.on")
            return _IGNORED
        loop = asyncio.get_running_loop()
        limit = until - self._deadline * _REPLY_MARGIN
        if self._mode == "run":
            task = self._start(self._handle(event, limit))
        else:
            await self.open()
            task = self._start(self._store(event, body, limit))
        # A task of its own: neither a handler that ignores its cancellation nor a client that leaves breaks the rules.
        await asyncio.wait((task,), timeout=until - loop.time())
        return task.result() if task.done() and not task.cancelled() else self._try_again()

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _handle(self, event: Event, limit: float) -> Answer:
        claim = _Claim(event.event_id, secrets.token_hex(8))
        try:
            async with asyncio.timeout_at(limit):
                state = await self._claims.claim(claim.event_id, claim.owner, self._lease)
        except BaseException as error:
            # It may have been granted although its answer did not come.
            await self._release(claim)
            return self._failed("an event could not be claimed", error)
        if state is not ClaimState.GRANTED:
            return _KNOWN if state is ClaimState.DONE else self._try_again()
        return _DONE if await self._run(claim, event, limit) else _AGAIN

    async def _store(self, event: Event, body: bytes, limit: float) -> Answer:
        try:
            async with asyncio.timeout_at(limit):
                state = await self._claims.put(event.event_id, body)
        except BaseException as error:
            return self._failed("an event could not be stored", error)
        self._wake.set()
        return self._try_again() if state is ClaimState.RUNNING else _STORED

    async def _run(self, claim: _Claim, event: Event, limit: float) -> bool:
        """Run the handler of a claimed event, settle it, and return True; after a failure release it."""
        _current.set(claim)
        handler = self._handler(event)
        try:
            async with asyncio.timeout_at(limit):
                if handler is not None:
                    await handler(event)
        except BaseException as error:
            if not claim.settled:
                await self._release(claim, self._backoff(claim.event_id))
            self._failed(f"the handler of {type(event).__name__} {claim.event_id} failed", error)
            return claim.settled
        self._failures.pop(claim.event_id, None)
        try:
            if not claim.settled:
                await self._claims.settle(claim.event_id, claim.owner)
        except Exception as error:  # it was handled, and is answered so; a later duplicate may be handled again
            self._failed(f"event {claim.event_id} was handled, and could not be settled", error)
        return True

    async def _release(self, claim: _Claim, delay: float = 0.0) -> None:
        try:
            await self._claims.release(claim.event_id, claim.owner, delay)
        except Exception as error:  # then the claim ends after its lease
            self._failed(f"the claim of {claim.event_id} could not be released", error)

    def _failed(self, what: str, error: BaseException) -> Answer:
        if isinstance(error, asyncio.CancelledError):
            raise error
        _log.warning("webhook: %s, and comes again", what, exc_info=None if isinstance(error, TimeoutError) else error)
        return _AGAIN

    def _try_again(self) -> Answer:
        return attrs.evolve(_AGAIN, headers=(("Retry-After", str(math.ceil(self._deadline))),))

    def _log_once(self, message: str) -> None:
        if message not in self._logged and len(self._logged) < 100:  # noqa: PLR2004 - a sender must not fill the log
            self._logged.add(message)
            _log.warning("%s", message)

    # Work off what is stored

    async def _work_off(self) -> None:
        room = asyncio.Semaphore(self._concurrency)
        while True:
            self._wake.clear()
            await room.acquire()
            claim = _Claim("", secrets.token_hex(8))
            try:
                taken = await self._claims.take(claim.owner, self._lease)
            except Exception as error:
                self._log_once(f"webhook: stored events cannot be read ({error}); they are tried until they can")
                taken = None
            if taken is None:
                room.release()
                try:
                    async with asyncio.timeout(_POLL):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                continue
            claim.event_id, body = taken
            self._start(self._run_stored(claim, body)).add_done_callback(lambda _: room.release())

    async def _run_stored(self, claim: _Claim, body: bytes) -> None:
        limit = asyncio.get_running_loop().time() + self._lease * _HANDLER_SHARE
        event = self._parsed(body)
        if event is None:
            await self._release(claim, self._backoff(claim.event_id))
        else:
            await self._run(claim, event, limit)

    def _backoff(self, event_id: str) -> float:
        """Count a failure, and return the seconds until a stored event is tried again: 1, 2, 4 … up to an hour."""
        if self._mode == "run":
            return 0.0
        if len(self._failures) >= _MOST_BACKOFFS:
            self._failures.clear()
        count = self._failures[event_id] = self._failures.get(event_id, -1) + 1
        return min(_MOST_BACKOFF, 2.0 ** min(count, 12)) * random.uniform(0.8, 1.2)
