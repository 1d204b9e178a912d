"""Receive webhooks: check each request, hand its event to a handler once, and answer in time."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import math
import random
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypeVar, cast
from urllib.parse import unquote_plus

import attrs
from multidict import CIMultiDict, istr

from ..errors import ClaimLostError, ConfigurationError, WebhookError
from ..secret import SecretBytes, hidden
from ..stores import url_kind, url_path
from .claims import ClaimState, MemoryClaims
from .deadlines import Deadlines
from .events import Event, is_json, parse
from .redis import RedisClaims
from .sqlite import SQLiteClaims

if TYPE_CHECKING:
    from aiohttp import web

_log = logging.getLogger("truecaller_vbc")
_TYPE, _CODING, _LENGTH = istr("Content-Type"), istr("Content-Encoding"), istr("Content-Length")
E = TypeVar("E", bound=Event)
Handler: TypeAlias = Callable[[Any], Awaitable[object]]
_HANDLER_SHARE: Final = 0.8  # of a lease: a handler in the background ends before its claim does
_POLL: Final = 1.0
_CONCURRENCY: Final = 8
_SHARE: Final = 0.9  # of the deadline: the rest is for releasing a claim and sending the answer


_JSON: Final = {"Content-Type": "application/json"}
# Answers before the whole body was read close the connection, so that the rest of it is never read.
_CLOSE: Final = {**_JSON, "Connection": "close"}


@attrs.frozen
class Answer:
    """An HTTP answer: status, JSON body, and headers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = _JSON


_DONE: Final = Answer(200, b'{"status":"done"}')
_KNOWN: Final = Answer(200, b'{"status":"duplicate"}')
_STORED: Final = Answer(200, b'{"status":"stored"}')
_IGNORED: Final = Answer(200, b'{"status":"ignored"}')
_NOT_POST: Final = Answer(405, b'{"error":"use POST"}', {**_CLOSE, "Allow": "POST"})
_WRONG_KEY: Final = Answer(403, b'{"error":"wrong key"}', _CLOSE)
_NOT_JSON: Final = Answer(415, b'{"error":"send application/json in UTF-8, not compressed"}', _CLOSE)
_TOO_LARGE: Final = Answer(413, b'{"error":"the body is too large"}', _CLOSE)
_TOO_SLOW: Final = Answer(408, b'{"error":"the body came too slowly"}', _CLOSE)
_UNREADABLE: Final = Answer(400, b'{"error":"the body is not a known event"}', _CLOSE)


class Receiver:
    """Hand each webhook event to its handler once, and answer Truecaller in time.

    Use it as an async context manager, or call `open` and `close`, so that what was stored is worked off from the
    start, and running handlers are waited for at the end.

    Args:
        handler: gets every event that has no handler of its own (see `on`).
        key: the secret in the URL of the webhook, ``https://…?key=…``, or several that are valid at once. None if the
            URL is protected otherwise.
        seen: where claims live: ``memory://`` (None, for one process), ``file:///path/claims.db`` (SQLite, for the
            processes of one machine), ``redis://host/0``, or an object with the methods of `MemoryClaims`.
        mode: ``"run"`` runs the handler and then answers. ``"store_then_run"`` stores the event durably and answers;
            the handler runs in the background, again after failures and restarts, until it succeeds.
        deadline: seconds within which everything is answered, from the moment the headers have arrived; then a handler
            is cancelled.
        lease: seconds after which the claim of a dead process ends. In the background, a handler may take four fifths.
        max_body: size in bytes of the largest body; Truecaller's have under 1 KiB.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """

    def __init__(
        self,
        handler: Callable[[Event], Awaitable[object]] | None = None,
        *,
        key: str | Iterable[str] | None,
        seen: MemoryClaims | SQLiteClaims | RedisClaims | str | None = None,
        mode: Literal["run", "store_then_run"] = "run",
        deadline: float = 1.5,
        lease: float = 60.0,
        max_body: int = 64 * 1024,
    ) -> None:
        keys = [key] if isinstance(key, str) else [*(key or ())]
        if key is not None and not (keys and all(one.strip() for one in keys)):
            raise ConfigurationError("Receiver(key=...) must be texts that are not empty, or None for no key")
        if not 0 < deadline < lease < math.inf or max_body < 1:
            raise ConfigurationError("Receiver needs 0 < deadline < lease in seconds, and max_body of 1 or more")
        self._claims = _open_claims(seen)
        if mode not in (("run", "store_then_run") if hasattr(self._claims, "take") else ("run",)):
            raise ConfigurationError('mode= is "run", or "store_then_run" with seen="file:///…" or "redis://…"')
        self._lease = lease
        self._stores = mode == "store_then_run"
        self._running: dict[str, str] = {}  # the owner of each event whose handler runs and has not committed it
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._keys = [SecretBytes(one.encode()) for one in keys]
        self._deadlines = Deadlines(deadline * _SHARE)
        self._max_body = max_body
        self._handlers: dict[type[Event], Handler] = {} if handler is None else {Event: handler}
        self._again = Answer(503, b'{"status":"try again"}', {**_JSON, "Retry-After": str(math.ceil(deadline))})

    def on(self, kind: type[E]) -> Callable[[Callable[[E], Awaitable[object]]], Callable[[E], Awaitable[object]]]:
        """Return a decorator that makes a coroutine function the handler of events of this class.

        ``UnknownEvent`` also gets events whose body is only partly understood; ``Event`` gets what has no other.

        Raises:
            ConfigurationError: the class has a handler already.
        """

        def register(handler: Callable[[E], Awaitable[object]]) -> Callable[[E], Awaitable[object]]:
            if self._handlers.setdefault(kind, handler) is not handler:
                raise ConfigurationError(f"{kind.__name__} has a handler already: use one for each class of events")
            return handler

        return register

    async def commit(self, event: Event, work: Callable[[Any], object]) -> None:
        """Do `work` and settle `event` in one transaction, so that the event has its effect exactly once.

        Call it in a handler. `work` gets the `sqlite3.Connection` of a file, in a thread; or a pipeline (MULTI) of
        Redis, to queue commands on; or None, in memory. If it raises, neither is done.

        Raises:
            ClaimLostError: the claim has ended, so that another receiver may have the event; nothing was done.
        """
        if (owner := self._running.get(event.event_id)) is None:
            raise ClaimLostError(f"event {event.event_id} is not being handled here: call commit in its handler")
        await self._claims.settle(event.event_id, owner, work)
        self._running.pop(event.event_id, None)

    async def open(self) -> Self:
        """Start to work off what is stored, if that is the mode."""
        if self._stores and not self._tasks:
            self._tasks = [asyncio.create_task(self._work()) for _ in range(_CONCURRENCY)]
        return self

    async def close(self) -> None:
        """Wait for the handlers in the background, each within its time limit, and close files and connections."""
        tasks, self._tasks = self._tasks, []
        self._wake.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._claims.close()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def receive(  # noqa: PLR0911 - one for each answer
        self, method: str, query: str, headers: Mapping[str, str], body: AsyncIterable[bytes] | bytes
    ) -> Answer:
        """Answer a request of any framework; `headers` ignore case, as a `multidict.CIMultiDict` does.

        `body` is what has arrived of it, if that is all, or its pieces.
        """
        if (refusal := self._refusal(method, query, headers)) is not None:
            return refusal
        answer, late, task = _TOO_SLOW, False, self._deadlines.start()
        try:
            try:
                whole = body if isinstance(body, bytes) else await self._read(body)
                if len(whole) > self._max_body:
                    return _TOO_LARGE
                if isinstance(found := self._find(whole), Answer):
                    return found
                answer = self._again
                if self._stores:
                    await self.open()
                state = await self._handle(*found, whole if self._stores else None)
            finally:
                late = self._deadlines.stop(task)
        except asyncio.CancelledError:
            if not late:
                raise
            return answer
        except Exception:  # the client left, or sent chunks that are not valid
            return _UNREADABLE
        if state is ClaimState.GRANTED:
            return _STORED if self._stores else _DONE
        return _KNOWN if state is ClaimState.DONE else self._again

    async def aiohttp(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle a request of aiohttp.web: ``app.router.add_post("/truecaller", receiver.aiohttp)``."""
        from aiohttp import web  # noqa: PLC0415 - a program that only parses needs no server

        content = request.content
        body = SecretBytes(content.read_nowait()) if content.is_eof() else content.iter_any()
        answer = await self.receive(request.method, request.raw_path.partition("?")[2], request.headers, body)
        response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        if "Connection" in answer.headers and not content.is_eof():
            # aiohttp would read the rest of the body for ten seconds before it closes the connection.
            await response.prepare(request)
            await response.write_eof()
            request.protocol.force_close()
        return response

    @property
    def asgi(self) -> Self:
        """Return an ASGI application: FastAPI, Starlette, Litestar, Quart, Django."""
        return self  # Starlette takes a function or a method for a handler of its own requests

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one HTTP request of ASGI, whatever its path; a server's start and end open and close the receiver."""
        if scope["type"] != "http":
            await (self._live(receive, send) if scope["type"] == "lifespan" else send({"type": "websocket.close"}))
            return
        headers = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        query = scope["query_string"].decode("latin-1")
        answer = await self.receive(scope["method"], query, headers, _chunks(receive))
        sent = {**answer.headers, "Content-Length": str(len(answer.body))}
        encoded = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
        await send({"type": "http.response.body", "body": answer.body})

    async def _live(self, receive: Any, send: Any) -> None:
        while (event := (await receive())["type"]) == "lifespan.startup":
            await self.open()
            await send({"type": "lifespan.startup.complete"})
        await self.close()
        await send({"type": f"{event}.complete"})

    def _refusal(self, method: str, query: str, headers: Mapping[str, str]) -> Answer | None:
        if method != "POST":
            return _NOT_POST
        if not self._has_key(query):
            return _WRONG_KEY
        content_type, coding = headers.get(_TYPE), headers.get(_CODING, "identity")
        if coding.lower() != "identity" or (content_type and not is_json(content_type)):
            return _NOT_JSON
        length = headers.get(_LENGTH, "")
        return _TOO_LARGE if length.isdecimal() and float(length) > self._max_body else None

    def _has_key(self, query: str) -> bool:
        given = unquote_plus(f"&{query}".partition("&key=")[2].partition("&")[0]).encode("utf-8", "replace")
        found = not self._keys
        for key in self._keys:  # all of them, so that the time does not tell which one is near
            found |= hmac.compare_digest(given, key)
        return found

    async def _read(self, body: AsyncIterable[bytes]) -> SecretBytes:
        """Return the whole body, which tracebacks do not show, or as much of it as shows that it is too large."""
        read = bytearray()
        async for chunk in body:
            read += chunk
            if len(read) > self._max_body:
                break
        return SecretBytes(read)

    def _find(self, body: bytes) -> tuple[Event, Handler] | Answer:
        """Return the event in a body with its handler, or the answer without one."""
        try:
            event, answer = parse(body), _IGNORED
        except WebhookError as error:
            _log.warning("%s", error)
            if error.event is None:
                return _UNREADABLE
            event, answer = cast(Event, error.event), _UNREADABLE
        if (handler := self._handlers.get(type(event), self._handlers.get(Event))) is not None:
            return event, handler
        _log.warning("webhook: %s has no handler: add one with Receiver.on", type(event).__name__)
        return answer

    # Handling

    async def _handle(self, event: Event, handler: Handler, body: bytes | None = None) -> ClaimState:
        """Claim an event and run its handler; with a `body`, only store it.

        GRANTED means that it was handled or stored, RUNNING that it must come again.
        """
        owner = hex(random.getrandbits(64))  # a process that was forked has random numbers of its own
        try:
            state: ClaimState = await self._claims.claim(event.event_id, owner, self._lease, body)
        except (Exception, asyncio.CancelledError) as error:
            await self._release(event.event_id, owner)  # it may have been granted, and its answer lost
            self._failed("an event could not be claimed", error)
            return ClaimState.RUNNING
        if state is ClaimState.GRANTED and body is None:
            return await self._run(event, handler, owner)
        self._wake.set()
        return state

    async def _run(self, event: Event, handler: Handler, owner: str) -> ClaimState:
        """Run the handler of a claimed event, and settle it. After a failure, release it."""
        self._running[event.event_id] = owner
        try:
            await handler(event)
            if self._ended(event, owner):
                await self._claims.settle(event.event_id, owner)
        except (Exception, asyncio.CancelledError) as error:
            released = self._ended(event, owner)
            if released:
                await self._release(event.event_id, owner)
            self._failed(f"{type(event).__name__} {event.event_id} was not handled and settled", error)
            # What was handled and not settled is answered as handled; a duplicate after the lease is handled again.
            return ClaimState.RUNNING if released else ClaimState.GRANTED
        return ClaimState.GRANTED

    def _ended(self, event: Event, owner: str) -> bool:
        """Return whether a handler has ended without a commit."""
        return self._running.get(event.event_id) == owner and bool(self._running.pop(event.event_id))

    async def _release(self, event_id: str, owner: str) -> None:
        try:
            await self._claims.release(event_id, owner, self._lease * random.uniform(0.8, 1.2))
        except Exception as error:  # then the claim ends after its lease
            self._failed(f"the claim of {event_id} could not be released", error)

    @staticmethod
    def _failed(what: str, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            _log.warning("webhook: %s: it was too slow, or the program ends", what)
            raise error
        _log.warning("webhook: %s", what, exc_info=error)

    async def _work(self) -> None:
        while self._tasks:
            self._wake.clear()
            owner, taken = hex(random.getrandbits(64)), None
            try:
                if (taken := await self._claims.take(owner, self._lease)) is not None:
                    if isinstance(found := self._find(taken[1]), Answer):
                        await self._release(taken[0], owner)  # another release of the program has its handler
                    else:
                        async with asyncio.timeout(self._lease * _HANDLER_SHARE):
                            await self._run(*found, owner)
            except (TimeoutError, asyncio.CancelledError):  # it was logged; a handler may raise the latter itself
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
            except Exception as error:  # an outage of the place must not end this task
                self._failed("a stored event could not be taken", error)
            if taken is None and self._tasks:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _POLL * random.uniform(1, 2))


async def _chunks(receive: Any) -> AsyncGenerator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _open_claims(seen: Any) -> Any:
    if not isinstance(seen, str):
        if seen is not None and not hasattr(seen, "claim"):
            raise ConfigurationError("seen= must be a URL, or claims such as SQLiteClaims(path)")
        return seen or MemoryClaims()
    seen = hidden(seen)  # the URL may contain a password, and tracebacks can show the locals of their frames
    kind = url_kind(seen, setting="seen=")
    if kind == "file":
        return SQLiteClaims(url_path(seen, setting="seen="))
    return RedisClaims(seen) if kind == "redis" else MemoryClaims()
