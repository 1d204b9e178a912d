"""The one POST that buys a token, and what each answer means."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

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
from .pool import crowded

_MOST_BYTES: Final = 64 * 1024
_SPEAKS_OF_A_LIMIT: Final = re.compile(r"(?<!de)limit|quota|maximum|exceed|throttl|too[ _-]?many", re.IGNORECASE)
_REFUSES_CREDENTIALS: Final = frozenset({400, 401, 403, 404})
_CONNECT_SHARE: Final = 2 / 3


@attrs.frozen
class Grant:
    """A token as the server gave it.

    Args:
        value: the token.
        created_at: the server's stamp, or None where it gave none that parses.
        age: seconds that it had already lived, by the server's own account.
    """

    value: str
    created_at: datetime | None
    age: float


@attrs.frozen
class Answer:
    """What one token call came to: a grant, or the error for the callers, and whether it counts."""

    outcome: Outcome
    grant: Grant | None = None
    error: TokenError | None = None
    retry_after: float | None = None


class TokenEndpoint:
    """``POST {base}/clients/{clientAccountId}/token`` (API reference, "Generate Access Token").

    Args:
        base_url: where the API is.
        policy: for the deadline.
    """

    __slots__ = ("_base_url", "_policy")

    def __init__(self, base_url: URL, policy: TokenPolicy) -> None:
        self._base_url = base_url
        self._policy = policy

    @property
    def base_url(self) -> URL:
        """Where the API is."""
        return self._base_url

    @property
    def _timeout(self) -> float:
        return self._policy.mint_timeout.total_seconds()

    async def mint(self, http: aiohttp.ClientSession | None, credentials: Credentials) -> Answer:
        """Make the call once. Never raises (but for cancellation): a failure is an answer, too.

        Args:
            http: the user's own session, or None for a connection that only this mint has.
            credentials: what buys the token.
        """
        if http is None:
            async with _for_one_mint() as own:
                return await self._mint(own, credentials)
        if http.closed:
            return _failed(Outcome.UNSENT, "the aiohttp session is closed: keep it open as long as VBCSession")
        return await self._mint(http, credentials)

    async def _mint(self, http: aiohttp.ClientSession, credentials: Credentials) -> Answer:
        url = self._base_url / "clients" / credentials.client_account_id / "token"
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(http, url, credentials)
        except aiohttp.ConnectionTimeoutError as error:
            if (connector := await crowded(http, url)) is not None:
                return _failed(Outcome.UNSENT, _crowded_out(connector), error)
            return _failed(Outcome.UNSENT, f"could not be reached ({_reason(error)})", error)
        except NOT_SENT as error:
            return _failed(Outcome.UNSENT, f"could not be reached ({_reason(error)})", error)
        except TimeoutError as error:
            return _failed(Outcome.UNKNOWN, f"did not answer within {self._timeout:g} s", error)
        except Exception as error:
            return _failed(Outcome.UNKNOWN, f"was lost in mid-request ({_reason(error)})", error)

    async def _post(self, http: aiohttp.ClientSession, url: URL, credentials: Credentials) -> Answer:
        async with http.post(
            url,
            data=_body(credentials),
            # The type, too: a default of http= would go before that of the payload.
            headers={"X-Public-Access": "allow", hdrs.CONTENT_TYPE: "application/json"},
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            middlewares=_bare(http),
            # Shorter than the deadline, so that a connection that never came about is told from a lost answer.
            timeout=aiohttp.ClientTimeout(total=None, connect=self._timeout * _CONNECT_SHARE),
        ) as response:
            body = await _read(response)
            return read_answer(response.status, response.headers, body)


def read_answer(status: int, headers: Mapping[str, str], body: bytes | None) -> Answer:
    """What an answer to the token call means. Pure.

    Args:
        status: the HTTP status.
        headers: of the answer; ``Date`` and ``Retry-After`` are read.
        body: of the answer, or None where it was too long or broke off.
    """
    payload = _json_object(body)
    if 200 <= status < 300:  # noqa: PLR2004
        return _read_success(status, headers, payload)
    retry_after = read_retry_after(headers)
    words = _words(payload)
    if status == 429 or (400 <= status < 500 and _SPEAKS_OF_A_LIMIT.search(words)):  # noqa: PLR2004
        error: TokenError = MintQuotaExhaustedError(
            f"the server grants no more tokens for now (HTTP {status}): wait until retry_at, "
            "and share one token between processes"
        )
    elif status in _REFUSES_CREDENTIALS:
        error = CredentialsRejectedError(
            f"the token endpoint refused the credentials (HTTP {status}): check client_account_id, key_id and "
            "api_key in the console under Manage API Keys"
        )
    else:
        error = _endpoint_error(f"answered HTTP {status}")
    return Answer(Outcome.REFUSED, error=error, retry_after=retry_after)


def _read_success(status: int, headers: Mapping[str, str], payload: dict[str, Any]) -> Answer:
    value = payload.get("token")
    if not isinstance(value, str) or not HEADER_SAFE.fullmatch(value):
        return _failed(Outcome.UNKNOWN, f"answered HTTP {status} without a token")
    created_at = read_timestamp(payload.get("created_at"))
    date = read_http_date(headers.get(hdrs.DATE, ""))
    age = (date - created_at).total_seconds() if date and created_at else 0.0
    return Answer(Outcome.MINTED, Grant(Secret(value), created_at, max(age, 0.0)))


def _for_one_mint() -> aiohttp.ClientSession:
    """A session for one mint, which so waits for no API call to give its connection back.

    Nor does it find a connection that has rested long enough for the server to close it just now, which would lose
    the answer and count. Mints are too rare for anything to be gained by keeping it.
    """
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


def _crowded_out(pool: aiohttp.BaseConnector) -> str:
    return (
        f"was not asked, since http= had no connection free in its pool (limit={pool.limit}, "
        f"limit_per_host={pool.limit_per_host}; raise it in its aiohttp.TCPConnector, or leave http= out, so that "
        "mints have a connection of their own)"
    )


def _bare(http: aiohttp.ClientSession) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """No middleware of a foreign session; where that could add an Authorization by itself, one that removes it."""
    if hdrs.AUTHORIZATION in http.headers or http.trust_env:
        return (_without_authorization,)
    return ()


async def _without_authorization(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    request.headers.popall(hdrs.AUTHORIZATION, None)
    return await handler(request)


def _body(credentials: Credentials) -> aiohttp.BytesPayload:
    # A payload instead of bytes: its repr says nothing, in whichever frame of aiohttp a traceback captures it.
    text = json.dumps({"key_id": credentials.key_id, "api_key": credentials.api_key})
    return aiohttp.BytesPayload(text.encode(), content_type="application/json")


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The body, or None where it is too long. Of a failure the status says enough if the body breaks off."""
    chunks = bytearray()
    try:
        async for chunk in response.content.iter_any():
            chunks += chunk
            if len(chunks) > _MOST_BYTES:
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
    """What an error envelope says, in any of the five shapes (API reference, "Error envelopes seen")."""
    places = [payload, _as_object(payload.get("status_info") or payload.get("statusInfo"))]
    return " ".join(str(place.get(name) or "") for place in places for name in ("slug", "message"))


def _failed(outcome: Outcome, what: str, cause: Exception | None = None) -> Answer:
    error = _endpoint_error(what)
    # The repr of a response's error shows the request's headers: of a proxy's refusal the user's password for it.
    if isinstance(cause, aiohttp.ClientError | OSError) and not isinstance(cause, aiohttp.ClientResponseError):
        error.__cause__ = _bounded(cause)
    return Answer(outcome, error=error)


def _bounded(cause: BaseException) -> BaseException:
    """The cause without its frames: a failure is remembered, and would keep a whole request alive."""
    link: BaseException | None = cause
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return cause


def _endpoint_error(what: str) -> TokenEndpointError:
    return TokenEndpointError(f"the token endpoint {what}: it will be tried again by itself after retry_at")


def _reason(error: BaseException) -> str:
    """The kind of a foreign error; its text may quote what was sent."""
    return type(error).__name__
