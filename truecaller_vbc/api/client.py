"""Send one API request, retry when that is safe, and poll with growing pauses."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Final, Generic, Protocol, TypeVar

import aiohttp
import attrs
from aiohttp import hdrs
from aiohttp.http_exceptions import ContentEncodingError
from multidict import CIMultiDict, CIMultiDictProxy

from ..backoff import backoff
from ..errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    InvalidRecordError,
    RateLimitedError,
    ServerError,
    SessionClosedError,
    UnknownOutcomeError,
)
from ..secret import SecretBytes
from ..transport_errors import NOT_RETRYABLE, NOT_SENT
from .events import CallFinished, CallOutcome
from .foreign_text import mask_token, readable
from .policy import APIPolicy, CallOptions
from .pooled_limit import Pool, PooledLimiter, PoolProof, Start
from .rate_limit import RateLimiter
from .responses import JSON, classify, is_passing, lost_body, read_response, undocumented_response

T = TypeVar("T")

_MAX_BYTES: Final = 8 * 1024 * 1024
_MAX_VALUES: Final = 100_000
_CONNECT_SHARE: Final = 0.5
_RETRY_SPREAD: Final = (0.5, 1.0)
_POLL_GROWTH: Final = 1.6
_HEADERS: Final = {hdrs.CONTENT_TYPE: "application/json"}
_CLOSED: Final = (("Session is closed",), ("Connector is closed.",))  # aiohttp's own texts
_BAD_GATEWAY: Final = 502
_UNREACHABLE: Final = "the API cannot be reached ({}): check the network and the base URL, and call again"
_RESTED: Final = 0.25
LABELS: Final = "/clients/{account}/labels"
"""Path of the labels, which is also asked for where any harmless request will do."""


class Session(Protocol):
    """Describe what the typed calls need of a session."""

    @property
    def client_account_id(self) -> str | None:
        """Return the account's ID, once it is known."""
        ...

    async def token(self) -> Any:
        """Get a token, and with it the account's ID."""
        ...

    @property
    def on_call(self) -> Callable[[CallFinished], object] | None:
        """Return what to call after each typed call, if anything listens."""
        ...

    @property
    def pool(self) -> Pool | None:
        """Return where the tokens of a pool are; None if the policy wants one token only."""
        ...

    @property
    def request(self) -> Callable[..., Any]:
        """Send a request, as aiohttp does."""
        ...

    @property
    def request_with(self) -> Callable[..., Any]:
        """Send a request with a given token of the pool."""
        ...


@attrs.define
class ApiRequest(Generic[T]):
    """Describe one request.

    Args:
        method: HTTP method.
        path: path with ``{account}`` for the account's ID.
        read: returns the result in the JSON of a documented success, and None for any other JSON.
        body: JSON, encoded.
        params: query parameters.
        limiter: rate limiter to wait for, or None.
        records: records that must not be sent twice; None if repeating the request does no harm.
        accept: see `read_response`.
        check: called before each attempt, when its first byte is about to leave; what it raises ends the request.
        on_send: called after each `check`.
        call: name of the typed call, such as ``calls.push``.
        policy: policy of this call; None for that of the session.
        pace_wait: seconds that it has waited for the rate limiter.
        tries: how often it was sent.
        start: the token of a pool that it is sent with, and its pace; None without a pool.
    """

    method: str
    path: str
    read: Callable[[JSON], T | None]
    body: bytes | None = attrs.field(default=None, repr=False)
    params: dict[str, str] | None = None
    limiter: RateLimiter | None = None
    records: Sequence[Any] | None = attrs.field(default=None, repr=False)
    accept: Callable[[int, JSON], bool] | None = None
    check: Callable[[], object] | None = None
    on_send: Callable[[], object] | None = None
    call: str = ""
    policy: APIPolicy | None = None
    pace_wait: float = 0.0
    tries: int = 0
    start: Start | None = attrs.field(default=None, repr=False)


class ApiClient:
    """Send the requests of one session.

    Args:
        session: session that sends the requests.
        policy: rates, retries and timeouts.
    """

    def __init__(self, session: Session, policy: APIPolicy) -> None:
        self._session = session
        self._pool: Pool | None = getattr(session, "pool", None)
        self.policy = policy
        self._sleeping: set[asyncio.Future[None]] = set()
        self.realtime: RateLimiter | None = self._limiter(policy.realtime_rate, policy.realtime_window.total_seconds())
        self.batch: RateLimiter | None = self._limiter(policy.batch_rate, policy.batch_window.total_seconds())
        self._timeouts = _timeouts(policy)
        self._proof = None if self._pool is None else PoolProof(self._pool, self._ask_with)

    def _limiter(self, rate: int | None, seconds: float) -> RateLimiter | None:
        if rate is None:
            return None
        return RateLimiter(rate, seconds) if self._pool is None else PooledLimiter(rate, seconds, self._pool)

    async def _ask_with(self, token: Any) -> None:
        path = LABELS.replace("{account}", str(self._session.client_account_id))
        async with self._session.request_with(token, hdrs.METH_GET, path, timeout=self._timeouts[0]) as response:
            await response.read()

    def policy_for(self, options: CallOptions, *, patient: bool = False) -> APIPolicy | None:
        """Return the policy of one call; None for that of the session.

        Args:
            options: of the call.
            patient: whether the call may wait for its turn as long as it takes.
        """
        if patient and self.policy.max_wait is not None:
            return attrs.evolve(self.policy, max_wait=None, **options)
        return attrs.evolve(self.policy, **options) if options else None

    @property
    def waiting(self) -> int:
        """Return how many calls wait for their turn."""
        return sum(limiter.waiting for limiter in (self.realtime, self.batch) if limiter is not None)

    @property
    def is_busy(self) -> bool:
        """Tell whether a call waits for its turn or for a retry."""
        return bool(self._sleeping) or self.waiting > 0

    def close(self) -> None:
        """Fail all waiters with SessionClosedError."""
        if self._proof is not None:
            self._proof.close()
        for limiter in (self.realtime, self.batch):
            if limiter is not None:
                limiter.close()
        for sleeper in self._sleeping:
            if not sleeper.done():
                sleeper.set_exception(SessionClosedError("this VBCSession was closed while the call was waiting"))

    async def _sleep(self, seconds: float) -> None:
        """Sleep until the time has passed, or raise SessionClosedError at once when the session is closed."""
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        self._sleeping.add(sleeper)
        timer = loop.call_later(seconds, _wake, sleeper)
        try:
            await sleeper
        finally:
            timer.cancel()
            self._sleeping.discard(sleeper)

    async def poll_until(self, look: Callable[[], Awaitable[bool]], limit: timedelta) -> bool:
        """Call `look` until it returns True or `limit` passes (at least once). Return whether it did.

        Passing errors of the API do not end it: they count as a look that found nothing.
        """
        if limit <= timedelta(0):
            return await look()
        deadline = asyncio.timeout(limit.total_seconds())
        try:
            async with deadline:
                for count in itertools.count(1):
                    pause = self._pause(count)
                    try:
                        if await look():
                            return True
                    except (ServerError, RateLimitedError, APIConnectionError) as error:
                        if isinstance(error, APIConnectionError) and not error.retryable:
                            raise
                        pause = max(pause, getattr(error, "retry_after", None) or 0.0)
                    await self._sleep(pause)
        except TimeoutError:
            if not deadline.expired():
                raise
        return False

    def send(self, request: ApiRequest[T]) -> Coroutine[Any, Any, T]:
        """Send a request, report it to listeners if there are any, and return the result in its answer.

        Raises:
            Exception: as `_send`.
        """
        return self._send(request) if self._session.on_call is None else self._send_and_report(request)

    async def _send_and_report(self, request: ApiRequest[T]) -> T:
        loop = asyncio.get_running_loop()
        began = loop.time()
        error: BaseException | None = None
        try:
            return await self._send(request)
        except BaseException as failure:
            error = failure
            raise
        finally:
            if (on_call := self._session.on_call) is not None:
                took = loop.time() - began
                on_call(CallFinished(request.call, _outcome(error), took, request.pace_wait, request.tries, error))
            del error

    async def _send(self, request: ApiRequest[T]) -> T:
        """Send a request with its retries.

        Raises:
            APIError: the API refused it, after all retries.
            UnknownOutcomeError: it may have been done, and must not be repeated.
            TokenError: no token could be had.
            SessionClosedError: the session is closed.
            InvalidRecordError: as `ApiRequest.check` raised it; nothing was done.
            APIConnectionError: the API could not be reached, or the answer to a repeatable request was lost.
        """
        policy = request.policy or self.policy
        deadline: float | None = None
        last: Exception | None = None
        attempt = 0
        while True:
            try:
                return await self._send_once(request)
            except InvalidRecordError:
                if last is None or isinstance(last, RateLimitedError):
                    raise
                raise last from None  # an earlier attempt may have been done
            except (APIError, APIConnectionError) as error:
                last = error
                attempt += 1
                now = asyncio.get_running_loop().time()
                # The time limit for retries starts with the first failure.
                deadline = now + policy.patience.total_seconds() if deadline is None else deadline
                wait = self._wait(request, error, attempt)
                if wait is not None and isinstance(error, RateLimitedError):
                    wait = _hold(request, wait, now, deadline)
                elif attempt >= policy.attempts:
                    raise
                if wait is None or now + wait > deadline:
                    raise
            await self._sleep(wait)

    async def _wait_for_turn(self, request: ApiRequest[Any], limiter: RateLimiter) -> float:
        """Wait until the rate allows the request, and return how many seconds that took."""
        max_wait = (request.policy or self.policy).max_wait
        seconds = None if max_wait is None else max_wait.total_seconds()
        if not isinstance(limiter, PooledLimiter):
            return await limiter.acquire(seconds)
        waited, request.start = await limiter.start(seconds)
        return waited

    async def _send_once(self, request: ApiRequest[T]) -> T:
        # Get the token first: waiting for it must use neither a place in the rate limit nor the attempt's deadline.
        await self._session.token()
        if request.limiter is not None:
            request.pace_wait += await self._wait_for_turn(request, request.limiter)
        if request.check is not None:
            request.check()
        if request.on_send is not None:
            request.on_send()
        path = request.path.replace("{account}", str(self._session.client_account_id))
        middlewares = None
        if request.records is not None:
            _close_rested_connections(getattr(self._session, "_http", None))
        elif request.method == hdrs.METH_GET:
            middlewares = (*getattr(getattr(self._session, "_http", None), "_middlewares", ()), _without_resending)
        answered: aiohttp.ClientResponse | None = None
        request.tries += 1
        timeouts = self._timeouts if request.policy is None else _timeouts(request.policy)
        try:
            send = self._session.request
            if request.start is not None and request.start.token is not None:
                send = functools.partial(self._session.request_with, request.start.token)
            async with await send(
                request.method,
                path,
                # aiohttp looks long for the payload type of a subclass of bytes.
                data=None if request.body is None else aiohttp.BytesPayload(request.body),
                params=request.params,
                headers=_HEADERS,
                timeout=timeouts[request.records is not None],
                # A record is personal data, so redirects are not followed.
                allow_redirects=False,
                raise_for_status=False,
                middlewares=middlewares,
            ) as response:
                answered = response
                sent = response.request_info.headers.get(hdrs.AUTHORIZATION, "")
                # Mask before anything is raised: a gateway's error page may quote the request.
                body = SecretBytes(mask_token(await _body(response), sent))
                result = request.read(read_response(response.status, response.headers, body, request.accept))
                if result is None:
                    raise undocumented_response(response.status, "the answer is not documented", body)
                return result
        except (APIError, aiohttp.ClientError, TimeoutError, RuntimeError) as error:
            cause = error.__cause__
            error = cause if isinstance(error, _LostError) and isinstance(cause, aiohttp.ClientError) else error
            failure = self._failure(request, error, answered)
            if failure is error:
                raise
            raise failure from _without_headers(error)

    def _failure(
        self, request: ApiRequest[Any], error: Exception, answered: aiohttp.ClientResponse | None
    ) -> Exception:
        """Return the error that ends an attempt; `UnknownOutcomeError` if the records may have been accepted."""
        if isinstance(error, RuntimeError | aiohttp.ClientConnectionError) and error.args[:1] in _CLOSED:
            return SessionClosedError("the session, or the one given as http=, was closed: the call was not sent")
        if isinstance(error, RuntimeError):  # also our SessionClosedError
            return error
        known = error if isinstance(error, APIError) else self._connection_error(request, error, answered)
        if request.records is not None and classify(known).outcome == "unknown":
            return _unknown(request.records, known, None if answered is None else answered.status)
        return known

    def _connection_error(
        self, request: ApiRequest[Any], error: Exception, answered: aiohttp.ClientResponse | None
    ) -> APIError | APIConnectionError:
        if answered is not None and answered.status >= 300:  # noqa: PLR2004
            return lost_body(answered.status, answered.headers)
        if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, NOT_SENT):
            return ServerError("the answer is not valid HTTP: try again later", status=_BAD_GATEWAY)
        if answered is not None and isinstance(error.__cause__, ContentEncodingError):
            return undocumented_response(answered.status, "the answer cannot be decompressed")
        sent = not isinstance(error, NOT_SENT)
        if isinstance(error, TimeoutError):
            seconds = (request.policy or self.policy).timeout.total_seconds()
            text = f"no answer within {seconds:g} s" if sent else "no connection in time"
            return APITimeoutError(_UNREACHABLE.format(text), sent=sent)
        reason = readable(str(error)) or type(error).__name__
        return APIConnectionError(
            _UNREACHABLE.format(reason),
            retryable=not isinstance(error, NOT_RETRYABLE),
            sent=sent,
        )

    def _wait(self, request: ApiRequest[Any], error: Exception, attempt: int) -> float | None:
        """Return the seconds to wait before a retry; None if the request must not be repeated."""
        if not is_passing(error):
            return None
        first = self.policy.retry_first.total_seconds()
        if isinstance(error, APIError) and error.retry_after is not None:
            # A tiny Retry-After must not cause a retry storm.
            return max(error.retry_after, first)
        if isinstance(error, RateLimitedError) and request.limiter is not None:
            # At least a part of the server's window has to pass.
            return backoff(request.limiter.window / 8, attempt, spread=_RETRY_SPREAD)
        return backoff(first, attempt, spread=_RETRY_SPREAD, most=self.policy.retry_most.total_seconds())

    def _pause(self, count: int) -> float:
        """Return the seconds to wait after look number `count` (from 1 on) of a poll."""
        first, most = self.policy.poll_first.total_seconds(), self.policy.poll_most.total_seconds()
        return backoff(first, count, most=most, growth=_POLL_GROWTH)


def _hold(request: ApiRequest[Any], wait: float, now: float, deadline: float) -> float | None:
    """Hold every request with the token that got a 429; they then resume at the normal rate.

    Return the seconds to wait; None if that takes too long. With a pool, the request waits for its turn with any token.
    """
    limiter, start = request.limiter, request.start
    if limiter is not None and start is not None:
        # Not for longer, so that later requests fail as this one does if all tokens are held for long.
        start.pace.pause_until(now + min(wait, max(limiter.window, deadline - now)))
        return 0.0 if now < deadline or limiter.next_start() <= now else None
    if limiter is not None and now + wait <= deadline:
        limiter.pause_until(now + wait)
    return wait


def _timeouts(policy: APIPolicy) -> tuple[aiohttp.ClientTimeout, aiohttp.ClientTimeout]:
    """Return the timeouts of a request that may be repeated, and of one that may not."""
    seconds = policy.timeout.total_seconds()
    # Connecting gets less time than the whole request, which tells "never connected" from "never answered".
    # Requests that may be repeated do not need the distinction, and save the second timer.
    return (
        aiohttp.ClientTimeout(total=seconds),
        aiohttp.ClientTimeout(total=seconds, connect=seconds * _CONNECT_SHARE),
    )


def _outcome(error: BaseException | None) -> CallOutcome:
    if error is None:
        return "ok"
    return classify(error).outcome if isinstance(error, Exception) else "cancelled"


class _LostError(aiohttp.ClientConnectionError):
    """Hide an error after which aiohttp would send the request again; the cause is the error."""


async def _without_resending(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating an idempotent request: each attempt of the policy is one request on the wire."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LostError from error


def _close_rested_connections(http: aiohttp.ClientSession | None) -> None:
    """Close pooled connections that have rested: the server may be closing them just now.

    A request that must not be repeated would then be in doubt, although the server never saw it. aiohttp has no public
    way to do this for one request.
    """
    pool: dict[Any, deque[tuple[Any, float]]] = getattr(getattr(http, "connector", None), "_conns", {})
    oldest = asyncio.get_running_loop().time() - _RESTED
    for connections in pool.values():
        while connections and connections[0][1] < oldest:
            connections.popleft()[0].close()


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


def _without_headers(error: Exception) -> Exception | None:
    """Return the cause to show: not aiohttp's error of an invalid answer, whose repr has the request's headers."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        # Its request may carry the proxy's password.
        info = error.request_info._replace(headers=CIMultiDictProxy(CIMultiDict[str]()))
        return aiohttp.ClientHttpProxyError(info, error.history, status=error.status, message=error.message)
    return None if isinstance(error, aiohttp.ClientResponseError) else error


def _unknown(records: Sequence[Any], known: Exception, status: int | None) -> UnknownOutcomeError:
    what = "its answer was lost" if status is None else f"HTTP {status} does not say whether it was done"
    words = getattr(known, "slug", None), getattr(known, "message", None)
    told = ": ".join(filter(None, words))
    unknown = UnknownOutcomeError(
        f"the request with {len(records)} records was sent, and {what}{f' ({told})' if told else ''}: it was not "
        "repeated; see .records",
        records=records,
        status=status,
    )
    unknown.slug, unknown.message = words
    unknown.field = getattr(known, "field", None)
    return unknown


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer, if it is so short that neither reading nor parsing it blocks the loop for long."""
    if (response.content_length or 0) > _MAX_BYTES:
        raise _too_long(response)
    content = response.content
    body = await content.readany()
    if not content.at_eof():
        chunks = bytearray(body)
        while chunk := await content.readany():
            chunks += chunk
            if len(chunks) > _MAX_BYTES:
                raise _too_long(response)
            await asyncio.sleep(0)  # let the loop go on: a body of many tiny chunks takes long
        body = bytes(chunks)
    elif not body:
        body = await response.read()  # whatever looked into the answer before has read it, and aiohttp keeps it
    # The time that JSON takes depends on its values, and each but the first in a list or an object follows a comma.
    if len(body) > _MAX_VALUES and body.count(b",") + body.count(b"[") + body.count(b"{") > _MAX_VALUES:
        raise _too_long(response)
    return body


def _too_long(response: aiohttp.ClientResponse) -> APIError:
    if response.status >= 300:  # noqa: PLR2004
        return lost_body(response.status, response.headers)
    return undocumented_response(response.status, "the answer is too long")
