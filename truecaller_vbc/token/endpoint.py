"""Request a token from the token endpoint, once, and classify the answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from http.cookies import SimpleCookie
from typing import Any, Final, NoReturn, cast

import aiohttp
import attrs
from aiohttp import hdrs
from yarl import URL

from ..credentials import Credentials
from ..errors import CredentialsRejectedError, MintQuotaExhaustedError, TokenEndpointError, TokenError
from ..secret import Secret
from ..timestamps import read_http_date, read_retry_after, read_timestamp
from ..transport_errors import NOT_SENT
from .ledger import Outcome
from .model import HEADER_SAFE
from .policy import TokenPolicy
from .tasks import reraise_if_cancelled, timeout

_MAX_BYTES: Final = 64 * 1024
_STEP: Final = 4096
_MENTIONS_A_LIMIT: Final = re.compile(r"(?<!de)limit|quota|maximum|exceed|throttl|too[ _-]?many", re.IGNORECASE)
_CREDENTIALS_REJECTED: Final = frozenset({400, 401, 403, 404})
_CONNECT_SHARE: Final = 2 / 3
_MAX_POOL_CHECK: Final = 1.0


@attrs.frozen
class MintResult:
    """A token as the server returned it.

    Args:
        value: the token.
        created_at: the server's time stamp, or None if it is missing or does not parse.
        age: the age in seconds that the server itself admits (``Date`` minus ``created_at``).
    """

    value: str
    created_at: datetime | None
    age: float


@attrs.frozen
class Answer:
    """A token or an error as the answer to one token request, and whether it counts as a mint."""

    outcome: Outcome
    result: MintResult | None = None
    error: TokenError | None = None
    retry_after: float | None = None


@attrs.frozen(eq=False, repr=False, weakref_slot=False)
class TokenEndpoint:
    """``POST {base}/clients/{clientAccountId}/token`` (API reference, "Generate Access Token").

    Args:
        base_url: the origin of the API.
        policy: sets the deadline of a request.
    """

    base_url: URL
    _policy: TokenPolicy

    async def mint(self, http: aiohttp.ClientSession | None, credentials: Credentials, seconds: float) -> Answer:
        """Send one token request. Failures are returned as an `Answer`; only a cancellation is raised.

        Args:
            http: the user's session, or None to open a connection for this request only.
            credentials: the API key to send.
            seconds: how long to wait for the answer; longer than callers wait, since a late token is worth having.
        """
        if http is None:
            async with _own_session() as own:
                return await self._mint(own, credentials, seconds)
        if http.closed:
            return _failed(Outcome.UNSENT, "the aiohttp session is closed: keep it open as long as VBCSession")
        return await self._mint(http, credentials, seconds)

    async def _mint(self, http: aiohttp.ClientSession, credentials: Credentials, seconds: float) -> Answer:
        url = self.base_url / "clients" / credentials.client_account_id / "token"
        try:
            async with timeout(seconds):
                return await self._post(http, url, credentials)
        except aiohttp.ConnectionTimeoutError as error:
            if (connector := await pool_is_full(http, url)) is not None:
                return _failed(Outcome.UNSENT, _no_free_connection(connector), error)
            return _failed(Outcome.UNSENT, f"could not be reached ({_reason(error)})", error)
        except NOT_SENT as error:
            return _failed(Outcome.UNSENT, f"could not be reached ({_reason(error)})", error)
        except TimeoutError as error:
            return _failed(Outcome.UNKNOWN, f"did not answer within {seconds:g} s", error)
        except (Exception, asyncio.CancelledError) as error:
            reraise_if_cancelled(error)  # else a task of aiohttp's own was cancelled, as the event loop ended
            return _failed(Outcome.UNKNOWN, f"lost the connection during the request ({_reason(error)})", error)

    async def _post(self, http: aiohttp.ClientSession, url: URL, credentials: Credentials) -> Answer:
        async with http.post(
            url,
            data=_body(credentials),
            # Set explicitly: a default header of http= would take precedence over the type of the payload.
            headers={"X-Public-Access": "allow", hdrs.CONTENT_TYPE: "application/json"},
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            middlewares=_middlewares(http),
            # Shorter than the deadline: a failed connection (not counted) must differ from a lost answer (counted).
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._policy.mint_timeout.total_seconds() * _CONNECT_SHARE
            ),
        ) as response:
            body = await _read(response)
            return classify_answer(response.status, response.headers, body)


def classify_answer(status: int, headers: Mapping[str, str], body: bytes | None) -> Answer:
    """Classify an answer to the token request. Pure.

    Args:
        status: the HTTP status.
        headers: of the answer; ``Date`` and ``Retry-After`` are used.
        body: of the answer, or None if it was too long or incomplete.
    """
    payload = _json_object(body)
    if 200 <= status < 300:  # noqa: PLR2004
        return _classify_success(status, headers, payload)
    retry_after = read_retry_after(headers)
    words = _words(payload)
    if status == 429 or (400 <= status < 500 and _MENTIONS_A_LIMIT.search(words)):  # noqa: PLR2004
        error: TokenError = MintQuotaExhaustedError(
            f"the server grants no more tokens for now (HTTP {status}): wait until retry_at, and let all processes "
            "share one token (store= or TRUECALLER_VBC_STORE)"
        )
    elif status in _CREDENTIALS_REJECTED:
        error = CredentialsRejectedError(
            f"the token endpoint refused the credentials (HTTP {status}): check client_account_id, key_id and "
            "api_key in the console under Manage API Keys"
        )
    else:
        error = _endpoint_error(f"answered HTTP {status}")
    return Answer(Outcome.REFUSED, error=error, retry_after=retry_after)


def _classify_success(status: int, headers: Mapping[str, str], payload: dict[str, Any]) -> Answer:
    value = payload.get("token")
    if not isinstance(value, str) or not HEADER_SAFE.fullmatch(value):
        return _failed(Outcome.UNKNOWN, f"answered HTTP {status} without a token")
    created_at = read_timestamp(payload.get("created_at"))
    date = read_http_date(headers.get(hdrs.DATE, ""))
    age = (date - created_at).total_seconds() if date and created_at else 0.0
    return Answer(Outcome.MINTED, MintResult(Secret(value), created_at, max(age, 0.0)))


def _own_session() -> aiohttp.ClientSession:
    """Return a session for one mint, so that the mint does not wait for API calls to release a connection.

    A new connection also avoids one that has been idle and that the server closes just now, which would lose the
    answer of a counted request. Mints are so rare that keeping the connection would gain nothing.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=_MAX_BYTES
    )


async def pool_is_full(http: aiohttp.ClientSession, url: URL) -> aiohttp.BaseConnector | None:
    """Return the session's connector if a request to `url` would have to wait for a free connection; else None.

    aiohttp raises the same error for a full pool and for an unreachable host. A connector does not tell how many
    connections are in use, so a second session that shares it starts a request, and a trace aborts that request at the
    first step that shows the answer, before anything is opened or sent.
    """
    connector = http.connector
    if connector is None or connector.closed:
        return None
    waits = False

    async def queued(*_: object) -> NoReturn:
        nonlocal waits
        waits = True
        raise _CheckDone

    async def served(*_: object) -> NoReturn:
        raise _CheckDone

    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(queued)
    trace.on_connection_create_start.append(served)
    trace.on_connection_reuseconn.append(served)
    async with aiohttp.ClientSession(connector=connector, connector_owner=False, trace_configs=[trace]) as probe:
        # A connector that does not support traces may raise anything; then the pool is not reported as full.
        with contextlib.suppress(Exception):
            await probe.head(url, timeout=aiohttp.ClientTimeout(total=_MAX_POOL_CHECK))
    return connector if waits else None


class _CheckDone(Exception):  # noqa: N818 - ends the check, and is not an error
    """Raised in `pool_is_full` as soon as the answer is known."""


def _no_free_connection(pool: aiohttp.BaseConnector) -> str:
    return (
        f"was not asked, because http= had no connection free in its pool (limit={pool.limit}, "
        f"limit_per_host={pool.limit_per_host}; raise it in its aiohttp.TCPConnector, or leave http= out, so that "
        "mints open a connection of their own)"
    )


def _middlewares(http: aiohttp.ClientSession) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """Replace the session's own middlewares; if the session could add or keep anything, prevent that."""
    adds = hdrs.AUTHORIZATION in http.headers or hdrs.COOKIE in http.headers or http.trust_env
    if adds or not isinstance(http.cookie_jar, aiohttp.DummyCookieJar):
        return (_alone,)
    return ()


async def _alone(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Remove what the session adds to a request (cookies, Authorization), and keep no cookie of the answer."""
    for name in (hdrs.AUTHORIZATION, hdrs.COOKIE):
        request.headers.popall(name, None)
    response = await handler(request)
    response.cookies = SimpleCookie()
    return response


def _body(credentials: Credentials) -> aiohttp.BytesPayload:
    # A payload, not bytes: its repr hides the key in tracebacks that show the local variables of aiohttp.
    text = json.dumps({"key_id": credentials.key_id, "api_key": credentials.api_key})
    return aiohttp.BytesPayload(text.encode(), content_type="application/json")


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the body, or None if it is too long, or if it is incomplete and the status is an error."""
    chunks = bytearray()
    try:
        while chunk := await response.content.read(_STEP):
            chunks += chunk
            await asyncio.sleep(0)  # let the loop go on: a body of many tiny chunks takes long
            if len(chunks) > _MAX_BYTES:
                response.close()
                return None
    except (aiohttp.ClientError, TimeoutError):
        if response.ok:
            raise
        return None
    return bytes(chunks)


def _json_object(body: bytes | None) -> dict[str, Any]:
    try:
        return _as_object(json.loads(body or b""))
    except (ValueError, RecursionError):
        return {}


def _as_object(value: object) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _words(payload: dict[str, Any]) -> str:
    """Return slug and message of an error envelope in its five shapes (API reference, "Error envelopes seen")."""
    places = [payload, _as_object(payload.get("status_info") or payload.get("statusInfo"))]
    return " ".join(str(place.get(name) or "") for place in places for name in ("slug", "message"))


def _failed(outcome: Outcome, what: str, cause: BaseException | None = None) -> Answer:
    error = _endpoint_error(what)
    # The repr of a ClientResponseError shows the request's headers, which may contain a proxy password.
    if isinstance(cause, aiohttp.ClientError | OSError) and not isinstance(cause, aiohttp.ClientResponseError):
        error.__cause__ = _without_frames(cause)
    return Answer(outcome, error=error)


def _without_frames(cause: BaseException) -> BaseException:
    """Drop the tracebacks of a chain of errors, which would keep the whole request in memory."""
    link: BaseException | None = cause
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return cause


def _endpoint_error(what: str) -> TokenEndpointError:
    return TokenEndpointError(f"the token endpoint {what}: it will be tried again automatically after retry_at")


def _reason(error: BaseException) -> str:
    """Return the class name of a foreign error. Its text may quote what was sent."""
    return type(error).__name__
