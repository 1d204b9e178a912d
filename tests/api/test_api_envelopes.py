"""Test that every typed call keeps the server's words, and takes nothing but a documented success for one."""

from __future__ import annotations

import gzip
import json
import pickle
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from truecaller_vbc import (
    APIConnectionError,
    APIError,
    APIPolicy,
    BadRequestError,
    BatchStatus,
    Credentials,
    NumbersRefusedError,
    RateLimitedError,
    ServerError,
    SessionClosedError,
    UnauthorizedError,
    UnknownOutcomeError,
    VBCError,
    VBCSession,
)
from truecaller_vbc.api.responses import classify

from .raw_server import raw_server
from .sandbox_session import FAST, FEATURE_SET, count_requests, record, sandbox_session

NUMBERS: Final = ["+911234567890"]


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


CALLS: Final[dict[str, Callable[[VBCSession], Awaitable[Any]]]] = {
    "calls": lambda vbc: vbc.calls.push(record()),
    "batch": lambda vbc: vbc.calls.push_batch([record()]),
    "push_all": lambda vbc: _all(vbc.calls.push_all([record()])),
    "status": lambda vbc: vbc.calls.batch_status("x"),
    "labels": lambda vbc: vbc.labels.list(),
    "feature_sets": lambda vbc: _all(vbc.numbers.feature_sets()),
    "numbers": lambda vbc: _all(vbc.numbers.numbers()),
    "publish": lambda vbc: vbc.numbers.publish(FEATURE_SET, NUMBERS),
    "delist": lambda vbc: vbc.numbers.delist(FEATURE_SET, NUMBERS),
}
ONCE: Final = ("batch", "publish", "delist")
ENVELOPES: Final[dict[str, Any]] = {
    "E1": {"slug": "odd-slug", "message": "the words"},
    "E1 input": {"slug": "invalid-input", "message": "the words"},
    "E1 50011": {"slug": "internal-server-error", "message": "500/50011 - Failed to parse token: the words"},
    "E2": {"field": "ends_at", "message": "the words", "status": "error"},
    "E3": {"status_info": {"status": "error", "field": "ends_at", "message": "the words"}},
    "E3 camel": {"statusInfo": {"status": "error", "field": "ends_at", "message": "the words"}},
    "E4": {"new_numbers": ["911234567890"], "existing_numbers": [], "status": "failed"},
    "E5": {"message": "the words"},
    "E1 list": {"slug": "invalid-input", "message": ["the words", "more"]},
    "E2 bare": {"field": "ends_at", "message": "the words"},
    "E3 bare": {"status_info": {"message": "the words", "field": "ends_at"}},
    "E5 more": {"message": "the words", "code": 7},
    "none": {"error": "the words"},
    "text": "the words",
    "empty": {},
    "null": None,
    "true": True,
    "seven": 7,
    "list": [],
    "texts": ["the words"],
}
SUCCESSES: Final[dict[str, Any]] = {
    "calls": {"statusInfo": {"status": "success", "message": "fine"}},
    "batch": {"batchId": "b"},
    "status": {"batchId": "b", "data": [{"status": "success", "caller": "911234567890"}]},
    "labels": [],
    "feature_sets": {"featureSets": [], "paginationInformation": {"totalPageCount": 1}},
    "numbers": {"numbers": [{"phoneNumber": "911234567890"}], "paginationInformation": {"totalPageCount": 1}},
    "publish": {"newNumbers": ["911234567890"], "status": "pending"},
    "delist": {"existingNumbers": ["911234567890"], "status": "pending"},
}
# What each call takes for an empty result.
EMPTY: Final = {("labels", "list"), ("feature_sets", "list"), ("numbers", "list"), ("status", "list")}


async def _outcome(name: str, answer: bytes, **policy: Any) -> Any:
    """Return what a call returns or raises for this answer."""
    credentials = Credentials("account", "key", "secret-api-key")
    fast = APIPolicy(attempts=1, patience=timedelta(0), **policy)
    async with raw_server(answer) as base_url, VBCSession(credentials, base_url=base_url, api_policy=fast) as vbc:
        try:
            result = await CALLS[name](vbc)
        except VBCError as error:
            return error
    if name == "push_all":
        (one,) = result
        return one.error or one.batch
    return result


def _response(status: int, body: bytes, encoding: str = "", cut: int = 0) -> bytes:
    if encoding == "gzip":
        body = gzip.compress(body)
    elif encoding == "deflate":
        body = zlib.compress(body)
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
    head += f"Content-Encoding: {encoding}\r\n" if encoding else ""
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: len(body) - cut]


@pytest.mark.parametrize("name", SUCCESSES)
async def test_documented_success_in_camel_case(name: str) -> None:
    """Every field is read in camelCase too, also the page count and the buckets."""
    result = await _outcome(name, _response(200, json.dumps(SUCCESSES[name]).encode()))

    assert not isinstance(result, Exception)
    if name == "status":
        assert isinstance(result, BatchStatus)
        assert result.final  # the flat status of v1
        assert result.data[0].caller_number == "+911234567890"
    if name in ("publish", "delist"):
        assert result.accepted == {"+911234567890"}
    if name == "numbers":
        assert [number.phone_number for number in result] == NUMBERS


@pytest.mark.slow
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(list(CALLS)),
    status=st.sampled_from([200, 200, 201, 204, 302, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504])
    | st.integers(100, 999),
    envelope=st.sampled_from(list(ENVELOPES)),
    encoding=st.sampled_from(["", "", "gzip", "deflate", "identity", "utf-16", "utf-32-be", "utf-8-sig"]),
    cut=st.sampled_from([0, 0, 0, 1, 5]),
)
async def test_any_envelope_with_any_status(name: str, status: int, envelope: str, encoding: str, cut: int) -> None:
    """Only documented errors are raised, with the server's words, and nothing else is taken for a success."""
    answer = ENVELOPES[envelope]
    charset, encoding = (encoding, "") if encoding.startswith("utf") else ("utf-8", encoding)
    error = await _outcome(name, _response(status, json.dumps(answer).encode(charset), encoding, cut))

    if (name, envelope) in EMPTY and 200 <= status < 300 and status != 204:
        if not cut:
            assert not isinstance(error, Exception)
        return
    assert isinstance(error, APIError | APIConnectionError | UnknownOutcomeError), error
    assert not isinstance(error, SessionClosedError)
    restored = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert vars(restored).keys() == vars(error).keys()
    assert str(restored) == str(error)
    if status < 200:  # no answer yet; the server closes the connection without one
        assert classify(error).outcome == "unknown"
        return
    if cut or status in (204, 304):
        # A body after a 304 is no HTTP, and of a broken deflate aiohttp does not tell the status.
        if 300 <= status < 500 and status != 304 and encoding != "deflate":
            assert classify(error).outcome == "refused"  # the status is enough
        return
    assert isinstance(error, APIError | UnknownOutcomeError)
    assert error.status == status
    if isinstance(error, NumbersRefusedError):
        assert envelope == "E4"
        assert status < 500
        assert status != 429
        return
    _check_words(error, answer)
    _check_class(error, name, status, envelope)


def _check_words(error: APIError | UnknownOutcomeError, answer: Any) -> None:
    if "the words" in json.dumps(answer):
        assert "the words" in str(error)
        assert "the words" in (error.message or "")
    fields = answer if isinstance(answer, dict) else {}
    assert error.slug == fields.get("slug")
    assert error.field == (fields.get("status_info") or fields.get("statusInfo") or fields).get("field")


def _check_class(error: Exception, name: str, status: int, envelope: str) -> None:
    if status == 429:
        assert isinstance(error, RateLimitedError)
    elif status not in (401, 403, 404) and envelope in (
        "E1 input",
        "E1 list",
        "E2",
        "E2 bare",
        "E3",
        "E3 bare",
        "E3 camel",
    ):
        assert isinstance(error, BadRequestError)
    elif status not in (401, 403, 404) and envelope == "E1 50011":
        assert isinstance(error, UnauthorizedError)
    elif status >= 500:
        assert isinstance(error, UnknownOutcomeError if name in (*ONCE, "push_all") else ServerError)
    elif status >= 300:
        assert classify(error).outcome == "refused"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_body_that_cannot_be_decompressed(name: str, encoding: str) -> None:
    """A 200 whose compressed body is broken is no 400."""
    answer = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 5\r\n\r\nabcde".encode()
    error = await _outcome(name, answer)

    assert isinstance(error, UnknownOutcomeError if name in (*ONCE, "push_all") else ServerError)
    assert error.status != 400
    assert "400" not in str(error)


@pytest.mark.parametrize("name", CALLS)
async def test_words_of_a_500_on_a_young_token(name: str) -> None:
    """The words of a 500 survive the look for a dead token."""
    body = {"slug": "internal-server-error", "message": "500/50012 - down until 14:00"}
    error = await _outcome(name, _response(500, json.dumps(body).encode()))

    assert error.message == body["message"]
    assert error.slug == body["slug"]
    assert error.status == 500


@pytest.mark.parametrize("name", CALLS)
async def test_unreachable_api(name: str) -> None:
    """`except VBCError` catches a refused connection, whose cause is aiohttp's error."""
    async with sandbox_session(FAST) as (sandbox, vbc):
        await vbc.warm_up()
        await sandbox.pause_listening()
        with pytest.raises(APIConnectionError) as caught:
            await CALLS[name](vbc)
    assert caught.value.__cause__ is not None
    assert caught.value.retryable
    assert not caught.value.sent
    assert classify(caught.value).outcome == "unsent"


async def test_campaign_survives_a_refusal_with_500() -> None:
    """A 500 that names a field is a refusal of its batch only."""
    body = {"status": "error", "field": "ends_at", "message": "too far"}
    async with sandbox_session(FAST) as (sandbox, vbc):
        sandbox.set_outage("batch", status=500, body=body)
        results = await _all(vbc.calls.push_all(record(number) for number in range(2500)))

    assert [result.outcome for result in results] == ["refused"] * 5


@pytest.mark.parametrize("name", ONCE)
async def test_no_second_request(name: Any) -> None:
    """A 503 with Retry-After may have been done, so it is not repeated."""
    async with sandbox_session(FAST) as (sandbox, vbc):
        sandbox.set_outage(name, status=503, headers={"Retry-After": "0.01"})
        with pytest.raises(UnknownOutcomeError):
            await CALLS[name](vbc)
        end = "dynamic_call_records" if name == "batch" else name
        assert count_requests(sandbox, end) == 1


async def test_field_of_an_unknown_outcome() -> None:
    """The field that the server names is kept where the outcome is unknown."""
    body = {"slug": "internal-server-error", "message": "the words", "field": "ends_at"}
    error = await _outcome("batch", _response(500, json.dumps(body).encode()))

    assert isinstance(error, UnknownOutcomeError)
    assert (error.slug, error.message, error.field) == ("internal-server-error", "the words", "ends_at")
