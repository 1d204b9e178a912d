"""The table of answers to the token request, with error, quota and next attempt for each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest
from aioresponses import aioresponses
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from truecaller_vbc import (
    AccessToken,
    Credentials,
    CredentialsRejectedError,
    MintQuotaExhaustedError,
    TokenEndpointError,
    TokenError,
    VBCSession,
)
from truecaller_vbc.errors import VBCError
from truecaller_vbc.timestamps import read_retry_after
from truecaller_vbc.token.endpoint import classify_answer

TOKEN_URL = "https://vbc.example/clients/account/token"
CREDENTIALS = Credentials("account", "key", "secret")
ENDPOINT, QUOTA, REJECTED = TokenEndpointError, MintQuotaExhaustedError, CredentialsRejectedError
GOOD = {"token": "a" * 64, "created_at": "2025-07-10T06:59:05.72Z"}


@pytest.fixture
def mocked() -> Iterator[aioresponses]:
    with aioresponses() as mock:
        yield mock


@pytest.fixture
async def vbc() -> AsyncIterator[VBCSession]:
    async with VBCSession(CREDENTIALS, base_url="https://vbc.example") as session:
        yield session


async def test_request_is_exactly_the_documented_one(mocked: aioresponses, vbc: VBCSession) -> None:
    """The token request is a POST with X-Public-Access and a JSON body of two fields."""
    mocked.post(TOKEN_URL, payload=GOOD)
    await vbc.token()

    ((method, url), (call,)) = next(iter(mocked.requests.items()))
    assert (method, url) == ("POST", URL(TOKEN_URL))
    assert call.kwargs["headers"] == {"X-Public-Access": "allow", "Content-Type": "application/json"}
    assert json.loads(call.kwargs["data"]._value) == {"key_id": "key", "api_key": "secret"}
    assert call.kwargs["data"].content_type == "application/json"
    assert call.kwargs["allow_redirects"] is False
    assert call.kwargs["middlewares"] == ()
    assert set(call.kwargs) == {
        *("headers", "data", "allow_redirects", "middlewares", "raise_for_status", "auto_decompress", "timeout"),
    }


@pytest.mark.parametrize("status", [200, 201, 202, 299])
@pytest.mark.parametrize("created_at", ["2025-07-10T06:59:05.72Z", "2025-07-10T06:59:05.720123456+00:00", "?", None, 7])
async def test_token(mocked: aioresponses, vbc: VBCSession, status: int, created_at: object) -> None:
    """A 2xx with a token is a token, whatever its created_at, and counts."""
    mocked.post(TOKEN_URL, status=status, payload={"token": "a" * 64, "created_at": created_at, "more": [1]})
    before = datetime.now(UTC)
    token = await vbc.token()

    assert token.value == "a" * 64
    assert token.authorization == "Bearer " + "a" * 64
    assert vbc.status().mints_in_window == 1
    if isinstance(created_at, str) and len(created_at) > 1:
        assert token.created_at.replace(microsecond=0) == datetime(2025, 7, 10, 6, 59, 5, tzinfo=UTC)
    else:
        assert before <= token.created_at <= datetime.now(UTC)


async def test_longest_token(mocked: aioresponses, vbc: VBCSession) -> None:
    """A token of 8 KiB is accepted, the most that common servers accept in a header."""
    mocked.post(TOKEN_URL, payload={"token": "a" * 8192})

    assert len((await vbc.token()).value) == 8192


BAD_SUCCESSES: list[dict[str, Any]] = [
    {"status": 204},
    {"body": "not JSON"},
    {"body": "<html>hello</html>", "content_type": "text/html"},
    {"payload": ["token"]},
    {"payload": {}},
    {"payload": {"token": ""}},
    {"payload": {"token": None}},
    {"payload": {"token": 7}},
    {"payload": {"token": "two words"}},
    {"payload": {"token": "a\r\nX-Evil: 1"}},
    {"payload": {"token": "ключ"}},
    {"payload": {"token": "a" * 8193}},
    {"payload": {"token": {"token": "a"}}},
    {"body": "[" * 50_000},
    {"body": b"\xff\xfe"},
    {"body": "x" * 70_000},
]


@pytest.mark.parametrize("answer", BAD_SUCCESSES)
async def test_success_that_is_no_token(mocked: aioresponses, vbc: VBCSession, answer: dict[str, Any]) -> None:
    """A 2xx without a usable token counts and gives a TokenEndpointError."""
    mocked.post(TOKEN_URL, **answer)
    with pytest.raises(TokenEndpointError) as caught:
        await vbc.token()

    assert vbc.status().mints_in_window == 1
    assert 0.5 < _wait(caught.value) < 1.3


FAILURES: list[tuple[int, dict[str, Any], type[TokenError]]] = [
    *((status, {}, ENDPOINT) for status in (300, 301, 302, 303, 307, 308, 405, 408, 409, 418, 422, 500, 502, 503, 504)),
    *((status, {}, REJECTED) for status in (400, 401, 403, 404)),
    (400, {"slug": "invalid-input", "message": "api_key is required"}, REJECTED),
    (403, {"slug": "forbidden-error", "message": "not authorized. please contact your admin."}, REJECTED),
    (400, {"message": "missing delimiter"}, REJECTED),
    (429, {}, QUOTA),
    (400, {"slug": "rate-limit"}, QUOTA),
    (403, {"message": "Maximum number of tokens reached"}, QUOTA),
    (401, {"message": "quota exhausted"}, QUOTA),
    (404, {"message": "You have EXCEEDED your plan"}, QUOTA),
    (400, {"message": "request throttled"}, QUOTA),
    (418, {"message": "too many tokens"}, QUOTA),
    (409, {"slug": "too_many_requests"}, QUOTA),
    (400, {"slug": "too-many-tokens"}, QUOTA),
    (403, {"slug": "TooManyTokens"}, QUOTA),
    (499, {"message": "limit reached"}, QUOTA),
    (400, {"field": "", "message": "limit reached", "status": "error"}, QUOTA),
    (400, {"status_info": {"status": "error", "message": "limit reached"}}, QUOTA),
    (400, {"statusInfo": {"status": "error", "message": "limit reached"}}, QUOTA),
    (500, {"message": "limit reached"}, ENDPOINT),
]


@pytest.mark.parametrize(("status", "payload", "error"), FAILURES)
async def test_failure(
    mocked: aioresponses, vbc: VBCSession, status: int, payload: dict[str, Any], error: type[TokenError]
) -> None:
    """The status (and for 4xx a limit in the envelope) selects the error; a limit fills the window."""
    mocked.post(TOKEN_URL, status=status, payload=payload)
    with pytest.raises(error):
        await vbc.token()
    with pytest.raises(TokenError) as caught:
        await vbc.token()
    assert type(caught.value) is error

    assert sum(len(calls) for calls in mocked.requests.values()) == 1
    assert vbc.status().mints_in_window == (10 if error is QUOTA else 0)
    low, high = {ENDPOINT: (0.5, 1.3), REJECTED: (59, 61), QUOTA: (1799, 1801)}[error]
    assert low < _wait(caught.value) < high


@pytest.mark.parametrize(
    ("status", "header", "wait"),
    [
        (503, "120", 120),
        (503, " 7.5 ", 7.5),
        *((status, "120", 120) for status in (302, 308, 409, 422, 500, 502)),
        (200, "120", 1),
        (503, "99999999", 1800),
        (429, "120", 120),
        (429, "99999999", 1800),
        (400, "120", 60),
        *((503, nonsense, 1) for nonsense in ("", "soon", "-5", "0", "nan", "inf", "1e999", "Mon, 99 Foo 2026")),
        *((429, nonsense, 1800) for nonsense in ("", "soon", "-5", "0", "nan", "inf")),
    ],
)
async def test_retry_after(mocked: aioresponses, vbc: VBCSession, status: int, header: str, wait: float) -> None:
    """`Retry-After` in seconds is obeyed up to one window; invalid values are ignored."""
    mocked.post(TOKEN_URL, status=status, headers={"Retry-After": header})
    with pytest.raises(TokenError) as caught:
        await vbc.token()

    assert 0.75 * wait < _wait(caught.value) < 1.25 * wait


async def test_retry_after_as_a_date(mocked: aioresponses, vbc: VBCSession) -> None:
    """`Retry-After` as a date is relative to the server's own Date header."""
    now = datetime(2031, 1, 1, tzinfo=UTC)
    headers = {
        "Date": format_datetime(now, usegmt=True),
        "Retry-After": format_datetime(now + timedelta(seconds=90), usegmt=True),
    }
    mocked.post(TOKEN_URL, status=503, headers=headers)
    with pytest.raises(TokenError) as caught:
        await vbc.token()

    assert 88 < _wait(caught.value) < 91


@pytest.mark.parametrize(
    ("exception", "counted"),
    [
        (aiohttp.ServerDisconnectedError(), 1),
        (aiohttp.ClientOSError(104, "reset"), 1),
        (aiohttp.ClientPayloadError("cut"), 1),
        (aiohttp.SocketTimeoutError(), 1),
        (TimeoutError(), 1),
        (RuntimeError("a foreign session's own"), 1),
        (aiohttp.ConnectionTimeoutError(), 0),
        (aiohttp.InvalidURL("https://"), 0),
    ],
)
async def test_lost_or_never_sent(mocked: aioresponses, vbc: VBCSession, exception: Exception, counted: int) -> None:
    """An attempt counts if its request may have arrived, and not if it cannot have been sent."""
    mocked.post(TOKEN_URL, exception=exception)
    with pytest.raises(TokenEndpointError):
        await vbc.token()

    assert vbc.status().mints_in_window == counted


@pytest.mark.parametrize(("age", "left"), [(0, 3600), (600, 3000), (-600, 3600)])
async def test_token_is_aged_by_what_the_server_admits(
    mocked: aioresponses, vbc: VBCSession, age: int, left: int
) -> None:
    """The age of a token is Date minus created_at, if that is positive."""
    date = datetime(2031, 1, 1, tzinfo=UTC)
    created_at = (date - timedelta(seconds=age)).isoformat()
    mocked.post(
        TOKEN_URL,
        payload={"token": "a" * 64, "created_at": created_at},
        headers={"Date": format_datetime(date, usegmt=True)},
    )
    token = await vbc.token()

    assert left - 5 < (token.expires_at - datetime.now(UTC)).total_seconds() <= left


async def test_token_that_has_ended(mocked: aioresponses, vbc: VBCSession, caplog: pytest.LogCaptureFixture) -> None:
    """A token that is over an hour old by the server's time stamps is taken as new, with one warning."""
    for value in ("a" * 64, "b" * 64):
        payload = {**GOOD, "token": value}
        mocked.post(TOKEN_URL, payload=payload, headers={"Date": "Thu, 10 Jul 2025 08:00:00 GMT"})
        token = await vbc.token()
        vbc._holder.state.reject(token, vbc._holder.now() + 60)
        assert (token.expires_at - datetime.now(UTC)).total_seconds() > 3590

    assert vbc.status().mints_in_window == 2
    assert caplog.text.count("the age is ignored") == 1


_headers = st.dictionaries(
    st.sampled_from(["Date", "Retry-After", "Content-Type"]), st.text(max_size=40), max_size=3
).map(CIMultiDict)
_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_envelopes = st.dictionaries(
    st.sampled_from(["token", "created_at", "slug", "message", "status_info", "statusInfo"]), _json
).map(lambda payload: json.dumps(payload).encode())


@pytest.mark.slow
@given(st.integers(100, 999), _headers, st.none() | st.binary() | _envelopes)
def test_any_answer_is_a_token_or_a_typed_error(status: int, headers: CIMultiDict[str], body: bytes | None) -> None:
    """Any answer gives either a token or an error."""
    answer = classify_answer(status, headers, body)

    assert (answer.result is None) != (answer.error is None)
    assert answer.error is None or isinstance(answer.error, VBCError)
    if answer.result is not None:
        AccessToken(answer.result.value, datetime.now(UTC), datetime.now(UTC))
        assert answer.result.value.isascii()
        assert 0 <= answer.result.age < float("inf")


@given(st.text() | st.floats().map(str) | st.datetimes().map(format_datetime))
def test_any_retry_after_is_a_wait_or_nothing(text: str) -> None:
    """`Retry-After` is never negative or infinite."""
    wait = read_retry_after(CIMultiDict({"Retry-After": text}))

    assert wait is None or 0 < wait < float("inf")


def _wait(error: TokenError) -> float:
    assert error.retry_at is not None
    return (error.retry_at - datetime.now(UTC)).total_seconds()
