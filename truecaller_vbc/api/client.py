"""Send one API request, retry when that is safe, and poll with growing pauses."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

import aiohttp
import attrs
from aiohttp import hdrs

from ..backoff import backoff
from ..errors import APIError, RateLimitedError, SessionClosedError, UnknownOutcomeError
from ..transport_errors import NOT_SENT
from .policy import APIPolicy
from .rate_limit import RateLimiter
from .responses import JSON, is_retryable, mask_token, may_be_done, read_response, undocumented_response

_MAX_BYTES: Final = 8 * 1024 * 1024
_MAX_VALUES: Final = 100_000
_TOO_LONG: Final = "the answer is too long"
_CONNECT_SHARE: Final = 0.5
_RETRY_SPREAD: Final = (0.5, 1.0)
_POLL_SPREAD: Final = (0.8, 1.2)
_POLL_GROWTH: Final = 1.6
_HEADERS: Final = {hdrs.CONTENT_TYPE: "application/json"}
_CLOSED: Final = "Session is closed"  # aiohttp's own text


class Session(Protocol):
    """Describe what the typed calls need of a session."""

    @property
    def client_account_id(self) -> str | None:
        """Return the account's ID, once it is known."""
        ...

    async def token(self) -> Any:
        """Get a token, and with it the account's ID."""
        ...

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """Send a request, as aiohttp does."""
        ...


@attrs.define
class ApiRequest:
    """Describe one request.

    Args:
        method: HTTP method.
        path: path with ``{account}`` for the account's ID.
        body: JSON, encoded.
        params: query parameters.
        limiter: rate limiter to wait for, or None.
        records: records that must not be sent twice; None if repeating the request does no harm.
        accept: see `read_response`.
        on_send: called once, when the first byte is about to leave.
    """

    method: str
    path: str
    body: bytes | None = attrs.field(default=None, repr=False)
    params: dict[str, str] | None = None
    limiter: RateLimiter | None = None
    records: Sequence[Any] | None = attrs.field(default=None, repr=False)
    accept: Callable[[int, JSON], bool] | None = None
    on_send: Callable[[], object] | None = None


class ApiClient:
    """Send the requests of one session.

    Args:
        session: session that sends the requests.
        policy: rates, retries and timeouts.
    """

    def __init__(self, session: Session, policy: APIPolicy) -> None:
        self._session = session
        self.policy = policy
        self.realtime = _limiter(policy.realtime_rate, policy.realtime_window.total_seconds())
        self.batch = _limiter(policy.batch_rate, policy.batch_window.total_seconds())
        seconds = policy.timeout.total_seconds()
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        # Connecting gets less time than the whole request, which tells "never connected" from "never answered".
        # Requests that may be repeated do not need the distinction, and save the second timer.
        self._timeout_of_once = aiohttp.ClientTimeout(total=seconds, connect=seconds * _CONNECT_SHARE)

    def close(self) -> None:
        """Fail all waiters with SessionClosedError."""
        for limiter in (self.realtime, self.batch):
            if limiter is not None:
                limiter.close()

    async def poll_until(self, look: Callable[[], Awaitable[bool]], limit: timedelta) -> bool:
        """Call `look` until it returns True or `limit` passes (at least once). Return whether it did."""
        if limit <= timedelta(0):
            return await look()
        deadline = asyncio.timeout(limit.total_seconds())
        try:
            async with deadline:
                for count in itertools.count(1):
                    if await look():
                        return True
                    await asyncio.sleep(self._pause(count))
        except TimeoutError:
            if not deadline.expired():
                raise
        return False

    async def send(self, request: ApiRequest) -> JSON:
        """Send a request and return the JSON of its answer; None for an empty body.

        Raises:
            APIError: the API refused it, after all retries.
            UnknownOutcomeError: it may have been done, and must not be repeated.
            TokenError: no token could be had.
            SessionClosedError: the session is closed.
            aiohttp.ClientError: the API could not be reached, or the answer to a repeatable request was lost; also
                TimeoutError.
        """
        policy = self.policy
        deadline: float | None = None
        attempt = 0
        while True:
            try:
                return await self._send_once(request, first=attempt == 0)
            except (APIError, aiohttp.ClientError, TimeoutError) as error:
                attempt += 1
                now = asyncio.get_running_loop().time()
                # The time limit for retries starts with the first failure.
                deadline = now + policy.patience.total_seconds() if deadline is None else deadline
                wait = self._wait(request, error, attempt)
                if wait is None or now + wait > deadline:
                    raise
                if not isinstance(error, RateLimitedError):
                    if attempt >= policy.attempts:
                        raise
                elif request.limiter is not None:
                    # A 429 pauses every request of this session; requests then resume at the normal rate.
                    request.limiter.pause_until(now + wait)
            await asyncio.sleep(wait)

    async def _send_once(self, request: ApiRequest, *, first: bool) -> JSON:
        # Get the token first: waiting for it must use neither a place in the rate limit nor the attempt's deadline.
        await self._session.token()
        if request.limiter is not None:
            await request.limiter.acquire()
        if first and request.on_send is not None:
            request.on_send()
        path = request.path.replace("{account}", str(self._session.client_account_id))
        status: int | None = None
        try:
            async with self._session.request(
                request.method,
                path,
                data=request.body,
                params=request.params,
                headers=_HEADERS,
                timeout=self._timeout if request.records is None else self._timeout_of_once,
                # A record is personal data, so redirects are not followed.
                allow_redirects=False,
                raise_for_status=False,
            ) as response:
                status = response.status
                sent = response.request_info.headers.get(hdrs.AUTHORIZATION, "")
                # Mask before anything is raised: a gateway's error page may quote the request.
                body = mask_token(await _body(response), sent)
                return read_response(response.status, response.headers, body, request.accept)
        except (APIError, aiohttp.ClientError, TimeoutError, RuntimeError) as error:
            failure = _failure(request, error, status)
            if failure is error:
                raise
            # The repr of a ClientResponseError shows the request's headers.
            raise failure from (None if isinstance(error, aiohttp.ClientResponseError) else error)

    def _wait(self, request: ApiRequest, error: Exception, attempt: int) -> float | None:
        """Return the seconds to wait before a retry; None if the request must not be repeated."""
        if not is_retryable(error, repeatable=request.records is None):
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
        return backoff(first, count, spread=_POLL_SPREAD, most=most, growth=_POLL_GROWTH)


def _limiter(rate: int | None, seconds: float) -> RateLimiter | None:
    return None if rate is None else RateLimiter(rate, seconds)


def _failure(request: ApiRequest, error: Exception, status: int | None) -> Exception:
    """Return the error that ends an attempt; `UnknownOutcomeError` if the records may have been accepted."""
    if isinstance(error, RuntimeError) and str(error) == _CLOSED:
        return SessionClosedError("the aiohttp session given as http= was closed: the call was not sent")
    if request.records is not None and may_be_done(error):
        return _unknown(request.records, getattr(error, "status", status))
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(error, NOT_SENT):
        return undocumented_response(error.status, "the answer is not valid HTTP")
    return error


def _unknown(records: Sequence[Any], status: int | None) -> UnknownOutcomeError:
    what = "its answer was lost" if status is None else f"HTTP {status} does not say whether it was done"
    return UnknownOutcomeError(
        f"the request with {len(records)} records was sent, and {what}: it was not repeated; see .records",
        records=records,
        status=status,
    )


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of an answer, if it is so short that neither reading nor parsing it blocks the loop for long."""
    if (response.content_length or 0) > _MAX_BYTES:
        raise undocumented_response(response.status, _TOO_LONG)
    content = response.content
    body = await content.readany()
    if not content.at_eof():
        chunks = bytearray(body)
        while chunk := await content.readany():
            chunks += chunk
            if len(chunks) > _MAX_BYTES:
                raise undocumented_response(response.status, _TOO_LONG)
            await asyncio.sleep(0)  # let the loop go on: a body of many tiny chunks takes long
        body = bytes(chunks)
    # The time that JSON takes depends on its values, and each but the first in a list or an object follows a comma.
    if len(body) > _MAX_VALUES and body.count(b",") + body.count(b"[") + body.count(b"{") > _MAX_VALUES:
        raise undocumented_response(response.status, _TOO_LONG)
    return body
