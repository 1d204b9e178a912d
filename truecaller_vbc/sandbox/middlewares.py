"""Check each request's token and rate, and play the planned faults, before an endpoint sees it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web

from .clock import SandboxClock
from .faults import Endpoint, Fault, FaultPlan
from .records import RequestLog, bearer
from .responses import RefusedError, ResponseBuilder, dead_token, refusal
from .rules import SandboxRules
from .tokens import SlidingWindow, TokenIssuer


class RequestRate:
    """Allow `limit` requests of one token in any `seconds`; no limit if it is None."""

    def __init__(self, limit: int | None, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._windows: dict[str, SlidingWindow] = {}

    def wait(self, token: str, now: float) -> float:
        """Take a place at `now` and return 0; if there is no room, return the seconds until there is."""
        if self._limit is None:
            return 0.0
        window = self._windows.get(token) or self._new_window(token, now, self._limit)
        free_in = window.free_in(now)
        if free_in == 0:
            window.note(now)
        return free_in

    def _new_window(self, token: str, now: float, limit: int) -> SlidingWindow:
        # Tokens expire, so forget idle ones whenever a new one appears.
        self._windows = {name: window for name, window in self._windows.items() if not window.is_empty(now)}
        self._windows[token] = window = SlidingWindow(limit, self._seconds)
        return window


Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


class _ConnectionClosedError(ConnectionResetError):
    """Signal that the sandbox itself closed the connection."""


class FaultMiddleware:
    """Wrap the endpoints with latency and faults, and stop running requests on demand."""

    def __init__(self, rules: SandboxRules, faults: FaultPlan, log: RequestLog, clock: SandboxClock) -> None:
        self._rules = rules
        self._faults = faults
        self._log = log
        self._clock = clock
        self._busy: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()

    def wrap(self, endpoint: Endpoint, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Wrap `handler` with the rules' latency and the faults of `endpoint`."""
        latency = self._rules.latency + (self._rules.token_latency if endpoint == "token" else 0.0)

        async def guarded(request: web.Request) -> web.StreamResponse:
            return await self._exchange(endpoint, latency, handler, request)

        return guarded

    def release(self) -> None:
        """Release every hanging request."""
        self._released.set()
        self._released = asyncio.Event()

    async def stop(self) -> None:
        """Cancel every running request and wait for its end."""
        # aiohttp forgets the handlers of lost connections, so a hanging one would outlive its server.
        tasks = list(self._busy)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _exchange(
        self, endpoint: Endpoint, latency: float, handler: Handler, request: web.Request
    ) -> web.StreamResponse:
        at = self._clock.tick()
        answer: web.StreamResponse | None = None
        self._busy.add(request.task)
        self._log.token_requests += endpoint == "token"
        try:
            return (answer := await self._answer(endpoint, latency, handler, request))
        except (ConnectionError, web.RequestPayloadError):
            return web.Response()  # aiohttp requires an answer, and drops it since the connection is closing
        finally:
            self._busy.discard(request.task)
            status = None if answer is None or request.transport is None else answer.status
            self._log.note(at, request, status)

    async def _answer(
        self, endpoint: Endpoint, latency: float, handler: Handler, request: web.Request
    ) -> web.StreamResponse:
        fault = self._faults.take(endpoint)
        try:
            # Read the body before any fault: closing a socket with unread data sends a reset, which can destroy the
            # answer.
            await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._dated(refusal(413))
        await self._wait(latency + (fault.delay if fault else 0.0))
        if fault is None:
            return self._dated(await handler(request))
        return await self._misbehave(fault, handler, request)

    async def _misbehave(self, fault: Fault, handler: Handler, request: web.Request) -> web.StreamResponse:
        answer = await handler(request) if fault.runs_endpoint else web.Response()
        if fault.drop in ("before", "after"):
            raise _abort(request)
        answer = self._dated(fault.add_headers(fault.answer() if fault.replaces else answer))
        if fault.drop == "mid":
            await _send(answer, request, portion=0.5, seconds=fault.slow)
            raise _abort(request)
        return await _send(answer, request, seconds=fault.slow) if fault.slow else answer

    async def _wait(self, seconds: float) -> None:
        if seconds == math.inf:
            await self._released.wait()
            raise _ConnectionClosedError
        if seconds > 0:
            await asyncio.sleep(seconds)

    def _dated(self, answer: web.Response) -> web.Response:
        answer.headers.setdefault("Date", self._clock.date())
        return answer


async def remove_date(_: web.Request, answer: web.StreamResponse) -> None:
    """Remove the ``Date`` header that aiohttp adds; a signal handler."""
    answer.headers.popall("Date", None)


def _abort(request: web.Request) -> _ConnectionClosedError:
    if request.transport is not None:
        request.transport.abort()
    return _ConnectionClosedError()


async def _send(
    answer: web.Response, request: web.Request, *, portion: float = 1.0, seconds: float
) -> web.StreamResponse:
    """Send `answer`, or a part of its body, by hand; one byte at a time if it must take some seconds."""
    body = answer.body if isinstance(answer.body, bytes) else b""
    stream = web.StreamResponse(status=answer.status, reason=answer.reason, headers=answer.headers)
    stream.content_length = len(body)
    await stream.prepare(request)
    part = body[: int(len(body) * portion)]
    for piece in [part[i : i + 1] for i in range(len(part))] if seconds else [part]:
        await asyncio.sleep(seconds / len(body) if body else 0)
        await stream.write(piece)
    return stream


class AuthMiddleware:
    """Admit only live tokens of this account, within the rate limit."""

    def __init__(self, rules: SandboxRules, tokens: TokenIssuer, account_id: str, clock: SandboxClock) -> None:
        self._rules = rules
        self._answers = ResponseBuilder(rules.api)
        self._tokens = tokens
        self._account_id = account_id
        self._clock = clock

    def wrap(self, handler: Handler, rate: RequestRate | None = None) -> Handler:
        """Wrap `handler` with the token check, and with the rate limit if there is one."""

        async def checked(request: web.Request) -> web.Response:
            now = self._clock.elapsed()
            token = bearer(request)
            if token is None:
                return refusal(401)
            if not self._tokens.is_live(token, now):
                return dead_token(self._rules.dead_token)
            if request.match_info["account"] != self._account_id:
                return self._answers.error(403)
            free_in = rate.wait(token, now) if rate is not None else 0.0
            if free_in > 0:
                return self._answers.too_many(free_in)
            try:
                return await handler(request)
            except RefusedError as error:
                return self._answers.refused(error)

        return checked
