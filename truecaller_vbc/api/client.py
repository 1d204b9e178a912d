"""Send one API request: rate limit, classify the response, retry when safe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import aiohttp
import attrs
from aiohttp import hdrs

from ..errors import APIError, RateLimitedError, ServerError, SessionClosedError, UnknownOutcomeError
from ..transport_errors import NOT_SENT
from .policy import APIPolicy
from .rate_limit import RateLimiter
from .responses import JSON, mask_token, read_response, undocumented_response

_MAX_BYTES: Final = 64 * 1024 * 1024
_CONNECT_SHARE: Final = 0.5
_JITTER: Final = (0.5, 1.0)
_MAX_DOUBLINGS: Final = 30
_HEADERS: Final = {hdrs.CONTENT_TYPE: "application/json"}
_CLOSED: Final = "Session is closed"  # as aiohttp says it
_RETRYABLE_STATUS: Final = frozenset({429, 502, 503, 504})
# Of what was never sent, what waiting does not mend.
_NOT_RETRYABLE: Final = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)
_LOST: Final = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)


class Session(Protocol):
    """What the typed calls need of a session."""

    @property
    def client_account_id(self) -> str | None:
        """The account's ID, once it is known."""
        ...

    async def token(self) -> Any:
        """Have a token, and with it the account's ID."""
        ...

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """Send a request, as aiohttp does."""
        ...


@attrs.define
class ApiRequest:
    """One request.

    Args:
        method: of HTTP.
        path: with ``{account}`` in the place of the account's ID.
        body: JSON, encoded.
        params: of the query.
        limiter: rate limiter to wait for, or None.
        records: what must not be sent twice; None says that repeating the call does no harm.
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
    """Sends the calls of one session.

    Args:
        session: to send with.
        policy: how fast, and how often.
    """

    def __init__(self, session: Session, policy: APIPolicy) -> None:
        self._session = session
        self.policy = policy
        self.realtime = _limiter(policy.realtime_rate, policy.realtime_window.total_seconds())
        self.batch = _limiter(policy.batch_rate, policy.batch_window.total_seconds())
        seconds = policy.timeout.total_seconds()
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        # Connecting has less time than the whole, so that "never connected" is told from "never answered"; what may be
        # repeated anyway does not need to know, and is spared a second timer.
        self._timeout_of_once = aiohttp.ClientTimeout(total=seconds, connect=seconds * _CONNECT_SHARE)

    def close(self) -> None:
        """Fail all waiters with SessionClosedError."""
        for limiter in (self.realtime, self.batch):
            if limiter is not None:
                limiter.close()

    async def send(self, request: ApiRequest) -> JSON:
        """The JSON that answers a call; None where there is no body.

        Raises:
            APIError: it was refused, at last.
            UnknownOutcomeError: it may have been done, and must not be repeated.
            TokenError: there is no token.
            SessionClosedError: the session is closed.
            aiohttp.ClientError: the API could not be reached, or the answer to what may be repeated was lost;
                also TimeoutError.
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
                # Patience is for what goes wrong, so it begins when that does.
                deadline = now + policy.patience.total_seconds() if deadline is None else deadline
                wait = self._wait(request, error, attempt)
                if wait is None or now + wait > deadline:
                    raise
                if not isinstance(error, RateLimitedError):
                    if attempt >= policy.attempts:
                        raise
                elif request.limiter is not None:
                    # A 429 pauses every request of this session. Requests then resume at the normal rate.
                    request.limiter.pause_until(now + wait)
            await asyncio.sleep(wait)

    async def _send_once(self, request: ApiRequest, *, first: bool) -> JSON:
        # Before acquiring the limiter, which would be wasted without a token, and outside the deadline of the attempt.
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
                # A record is personal, and goes to no address that an answer names.
                allow_redirects=False,
                raise_for_status=False,
            ) as response:
                status = response.status
                sent = response.request_info.headers.get(hdrs.AUTHORIZATION, "")
                # Before anything can be raised: a gateway's error page may quote the request.
                body = mask_token(await _body(response), sent)
                return read_response(response.status, response.headers, body, request.accept)
        except (APIError, aiohttp.ClientError, TimeoutError, RuntimeError) as error:
            failure = _failure(request, error, status)
            if failure is error:
                raise
            # The repr of this one shows the request's headers.
            raise failure from (None if isinstance(error, aiohttp.ClientResponseError) else error)

    def _wait(self, request: ApiRequest, error: Exception, attempt: int) -> float | None:
        """Seconds to wait before a call is repeated; None where it is not to be."""
        if not self._may_be_repeated(request, error):
            return None
        if isinstance(error, APIError) and error.retry_after is not None:
            # A server that asks for a microsecond is not asked a million times.
            return max(error.retry_after, self.policy.retry_first.total_seconds())
        spread = 2.0 ** min(attempt - 1, _MAX_DOUBLINGS) * random.uniform(*_JITTER)
        if isinstance(error, RateLimitedError) and request.limiter is not None:
            return request.limiter.window / 8 * spread  # the server's window has to pass, at least in part
        return min(self.policy.retry_first.total_seconds() * spread, self.policy.retry_most.total_seconds())

    @staticmethod
    def _may_be_repeated(request: ApiRequest, error: Exception) -> bool:
        if isinstance(error, _NOT_RETRYABLE):
            return False
        if isinstance(error, APIError):
            return error.status in _RETRYABLE_STATUS and (request.records is None or _surely_not_done(error))
        return isinstance(error, NOT_SENT if request.records is not None else _LOST)


def _limiter(rate: int | None, seconds: float) -> RateLimiter | None:
    return None if rate is None else RateLimiter(rate, seconds)


def _failure(request: ApiRequest, error: Exception, status: int | None) -> Exception:
    """What an attempt ends with: its error, or one that says what it means for what must not be sent twice."""
    if isinstance(error, RuntimeError) and str(error) == _CLOSED:
        return SessionClosedError("the aiohttp session given as http= was closed: the call was not sent")
    if isinstance(error, NOT_SENT):
        return error
    if isinstance(error, aiohttp.ClientResponseError):
        failure = undocumented_response(error.status, "the answer is no HTTP")
        return failure if request.records is None else _unknown(request, failure.status)
    is_unclear = isinstance(error, ServerError) and not _surely_not_done(error)
    if request.records is not None and (is_unclear or isinstance(error, _LOST)):
        return _unknown(request, error.status if isinstance(error, ServerError) else status)
    return error


def _surely_not_done(error: APIError) -> bool:
    """Whether the server itself says that it did nothing: it refused, or asks to come back later."""
    return 300 <= error.status < 500 or (error.status == 503 and error.retry_after is not None)  # noqa: PLR2004


def _unknown(request: ApiRequest, status: int | None) -> UnknownOutcomeError:
    records = request.records or ()
    what = "its answer was lost" if status is None else f"HTTP {status} does not say whether it was done"
    return UnknownOutcomeError(
        f"the request with {len(records)} records left, and {what}: it was not repeated; see .records",
        records=records,
        status=status,
    )


async def _body(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or 0) > _MAX_BYTES:
        raise undocumented_response(response.status, "the answer is too long")
    content = response.content
    body = await content.readany()
    if content.at_eof():
        return body
    chunks, size = [body], len(body)
    while chunk := await content.readany():
        chunks.append(chunk)
        size += len(chunk)
        if size > _MAX_BYTES:
            raise undocumented_response(response.status, "the answer is too long")
    return b"".join(chunks)
