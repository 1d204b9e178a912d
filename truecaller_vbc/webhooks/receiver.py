"""Receive webhooks: check each request, hand its event to a handler once, and answer in time."""

from __future__ import annotations

import hmac
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar
from urllib.parse import unquote_plus

import attrs
from multidict import CIMultiDict, istr

from ..errors import ConfigurationError, WebhookError
from ..secret import SecretBytes, hidden
from ..stores import url_kind, url_path
from .claims import ClaimState, MemoryClaims
from .deadlines import Deadlines
from .events import Event, is_json, parse
from .handling import Handler, HandlerRunner
from .redis import RedisClaims
from .sqlite import SQLiteClaims

if TYPE_CHECKING:
    from aiohttp import web

_log = logging.getLogger("truecaller_vbc")
E = TypeVar("E", bound=Event)
_SHARE: Final = 0.9  # of the deadline: the rest is for releasing a claim and sending the answer
_CONTENT_TYPE: Final = istr("Content-Type")
_CONTENT_ENCODING: Final = istr("Content-Encoding")
_CONTENT_LENGTH: Final = istr("Content-Length")


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
# Answers before the whole body was read close the connection, so that the rest of it is never read.
_CLOSE: Final = ("Connection", "close")
_NOT_POST: Final = Answer(405, b'{"error":"use POST"}', (("Allow", "POST"), _CLOSE))
_WRONG_KEY: Final = Answer(403, b'{"error":"wrong key"}', (_CLOSE,))
_NOT_JSON: Final = Answer(415, b'{"error":"send application/json in UTF-8, not compressed"}', (_CLOSE,))
_TOO_LARGE: Final = Answer(413, b'{"error":"the body is too large"}', (_CLOSE,))
_TOO_SLOW: Final = Answer(408, b'{"error":"the body came too slowly"}', (_CLOSE,))
_UNREADABLE: Final = Answer(400, b'{"error":"the body is not a known event"}', (_CLOSE,))


class Receiver(HandlerRunner):
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
        claims = _open_claims(seen)
        if mode not in (("run", "store_then_run") if hasattr(claims, "take") else ("run",)):
            raise ConfigurationError('mode= is "run", or "store_then_run" with seen="file:///…" or "redis://…"')
        super().__init__(claims, lease, stores=mode == "store_then_run")
        self._keys = [SecretBytes(one.encode()) for one in keys]
        self._deadlines = Deadlines(deadline * _SHARE)
        self._max_body = max_body
        self._handlers: dict[type[Event], Handler] = {} if handler is None else {Event: handler}
        self._again = Answer(503, b'{"status":"try again"}', (("Retry-After", str(math.ceil(deadline))),))

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

    async def receive(  # noqa: PLR0911 - one for each answer
        self, method: str, query: str, headers: Mapping[str, str], body: AsyncIterable[bytes] | bytes
    ) -> Answer:
        """Answer a request of any framework; `headers` ignore case, as a `multidict.CIMultiDict` does.

        `body` is what has arrived of it, if that is all, or its pieces.
        """
        if (refusal := self._refusal(method, query, headers)) is not None:
            return refusal
        answer = _TOO_SLOW
        try:
            with self._deadlines:
                whole = body if isinstance(body, bytes) else await self._read(body)
                if len(whole) > self._max_body:
                    return _TOO_LARGE
                if isinstance(found := self._find(whole), Answer):
                    return found
                answer = self._again
                if self._stores:
                    await self.open()
                state = await self._handle(*found, whole if self._stores else None)
        except TimeoutError:
            return answer
        except Exception:  # the client left, or sent chunks that are not valid
            return _UNREADABLE
        if state is ClaimState.GRANTED:
            return _STORED if self._stores else _DONE
        return _KNOWN if state is ClaimState.DONE else self._again

    async def aiohttp(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle a request of aiohttp.web: ``app.router.add_post("/truecaller", receiver.aiohttp)``."""
        from aiohttp import web  # noqa: PLC0415 - a program that only parses needs no server

        query, content = request.rel_url.raw_query_string, request.content
        body = SecretBytes(content.read_nowait()) if content.is_eof() else content.iter_any()
        answer = await self.receive(request.method, query, request.headers, body)
        headers = {"Content-Type": "application/json", **dict(answer.headers)}
        response = web.Response(status=answer.status, body=answer.body, headers=headers)
        if _CLOSE in answer.headers and not request.content.is_eof():
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
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        headers = CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        query = scope["query_string"].decode("latin-1")
        answer = await self.receive(scope["method"], query, headers, _chunks(receive))
        sent = [("content-type", "application/json"), ("content-length", str(len(answer.body))), *answer.headers]
        encoded = [(name.lower().encode(), value.encode()) for name, value in sent]
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
        content_type, coding = headers.get(_CONTENT_TYPE), headers.get(_CONTENT_ENCODING, "identity")
        if coding.lower() != "identity" or (content_type and not is_json(content_type)):
            return _NOT_JSON
        length = headers.get(_CONTENT_LENGTH, "")
        return _TOO_LARGE if length.isdecimal() and float(length) > self._max_body else None

    def _has_key(self, query: str) -> bool:
        if not self._keys:
            return True
        if query.startswith("key=") and query.isascii() and self._is_key(query[4:].encode()):
            return True
        given = next((part[4:] for part in query.split("&") if part.startswith("key=")), "")
        return self._is_key(unquote_plus(given).encode("utf-8", "replace"))

    def _is_key(self, value: bytes) -> bool:
        found = False
        for key in self._keys:  # all of them, so that the time does not tell which one is near
            found |= hmac.compare_digest(value, key)
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
        event: Event | None
        try:
            event, answer = parse(body), _IGNORED
        except WebhookError as error:
            event, answer = error.event, _UNREADABLE
            _log.warning("%s", error)
        handler = None if event is None else self._handlers.get(type(event), self._handlers.get(Event))
        if event is not None and handler is not None:
            return event, handler
        if answer is _IGNORED:
            _log.warning("webhook: %s has no handler: add one with Receiver.on", type(event).__name__)
        return answer


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
