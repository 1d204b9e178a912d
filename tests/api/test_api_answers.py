"""Test what each typed call makes of answers that are nearly documented, over a real connection."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from typing import Any, Final

import aiohttp
import pytest

from truecaller_vbc import (
    APIConnectionError,
    APIError,
    BadRequestError,
    Batch,
    Credentials,
    ForbiddenError,
    NotFoundError,
    NumbersRefusedError,
    RateLimitedError,
    ServerError,
    StillPendingError,
    UnauthorizedError,
    UnknownOutcomeError,
    VBCSession,
)

from .raw_server import raw_server
from .sandbox_session import FAST, FEATURE_SET, record, sandbox_session
from .test_api_envelopes import CALLS, NUMBERS, ONCE, _outcome, _response

TAKEN: Final = {"status_info": {"status": "success", "message": "fine"}}
LABEL: Final = {"id": "l", "name": "FlowerEra"}
RESULT: Final = {"new_numbers": ["911234567890"], "status": "pending"}
RECORD: Final = {"id": "r", "status_info": {"status": "success"}}
STATUS: Final = {"batch_id": "b", "data": [RECORD]}


def _each(key: str, values: Iterable[Any]) -> list[Any]:
    return [{key: value} for value in values]


# Answers with status 200 that are no documented success of the call.
NO_SUCCESS: Final[dict[str, list[Any]]] = {
    "calls": [
        *_each("status_info", _each("status", ("rejected", "pending", "unsuccessful", "", 1))),
        *_each("status", ("rejected", "listed", None, [])),
        {"status_info": "success"},
        *({"batch_id": "b"}, STATUS, RESULT, [LABEL]),
    ],
    "batch": [
        *_each("batch_id", ("", " ", None, True, 0, [], {}, 1.5)),
        *(TAKEN, RESULT, [LABEL], {"status": "success"}, {"data": []}, "b"),
    ],
    "status": [
        *_each("data", ("x", {}, 7, [1], ["x"], [None])),
        *([{}], [{"status": "error", "message": "m"}], TAKEN, RESULT, {"client_account_id": "a"}),
    ],
    "labels": [
        *([7], ["x"], [None], [[]], [{}], [{"other": 1}], [{"status": "error", "message": "m"}]),
        *({"labels": "x"}, TAKEN, STATUS, RESULT),
    ],
    "feature_sets": [
        *_each("feature_sets", ("x", 7, {}, [7], [None], [{}], [{"status": "error"}])),
        *({"items": []}, TAKEN, STATUS, [7]),
    ],
    "numbers": [
        *_each("numbers", ("x", 7, {}, [7], ["911234567890"], [{}], [{"status": "listed"}])),
        *({"items": []}, TAKEN, STATUS, [7]),
    ],
    "publish": [
        *_each("new_numbers", ("911234567890", 7, True, {}, None)),
        *({"status": "rejected"}, {"phone_type": "verified"}, TAKEN, {"batch_id": "b"}, STATUS, [LABEL]),
    ],
}
NO_SUCCESS["push_all"] = NO_SUCCESS["batch"]
NO_SUCCESS["delist"] = NO_SUCCESS["publish"]


def _no_success() -> list[tuple[str, Any]]:
    return [(name, answer) for name, answers in NO_SUCCESS.items() for answer in answers]


@pytest.mark.parametrize(("name", "answer"), _no_success())
async def test_no_documented_success(name: str, answer: Any) -> None:
    """Whatever the documents do not call a success of this call is an error, with the words of the answer."""
    error = await _outcome(name, _response(200, json.dumps(answer).encode()))

    assert type(error) is (UnknownOutcomeError if name in (*ONCE, "push_all") else ServerError)
    assert error.status == 200
    assert error.message


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 409, 422, 429])
@pytest.mark.parametrize("fault", ["cut", "cut gzip", "broken gzip"])
async def test_refusal_whose_body_is_lost(name: str, status: int, fault: str) -> None:
    """A status that says that nothing was done is enough: its body may be lost or broken."""
    body = b'{"slug": "odd", "message": "the words"}'
    if fault == "broken gzip":
        head = f"HTTP/1.1 {status} X\r\nContent-Encoding: gzip\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\n"
        answer = head.encode() + b"abcde"
    else:
        answer = _response(status, body, "gzip" if "gzip" in fault else "", cut=9)
    error = await _outcome(name, answer)

    kinds: dict[int, type[APIError]] = {
        302: APIError,
        401: UnauthorizedError,
        403: ForbiddenError,
        404: NotFoundError,
        429: RateLimitedError,
    }
    assert type(error) is kinds.get(status, BadRequestError)
    assert error.status == status
    if fault == "broken gzip":
        assert error.retry_after == 7


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [200, 500, 503])
async def test_other_answer_whose_body_is_lost(name: str, status: int) -> None:
    """Where the status does not say that nothing was done, a lost body leaves the outcome open."""
    error = await _outcome(name, _response(status, b'{"batch_id": "b"}', cut=3))

    if name in (*ONCE, "push_all"):
        assert isinstance(error, UnknownOutcomeError)
        assert error.status == status
    else:
        assert isinstance(error, APIConnectionError if status == 200 else ServerError)


@pytest.mark.parametrize(
    ("answer", "slug", "message", "field"),
    [
        ({"message": "the words", "code": 7}, None, "the words", None),
        ({"field": "ends_at", "message": "the words"}, None, "the words", "ends_at"),
        ({"status": 400, "message": "the words"}, None, "the words", None),
        ({"status": "fail", "message": "the words", "field": "f"}, None, "the words", "f"),
        ({"status_info": {"message": "the words", "field": "f"}}, None, "the words", "f"),
        ({"slug": "odd", "status_info": {"status": "error", "message": "the words"}}, "odd", "the words", None),
        ({"slug": "odd", "message": ["the words"]}, "odd", '["the words"]', None),
        ({"slug": "odd", "message": {"en": "the words"}}, "odd", '{"en": "the words"}', None),
        ({"status": "error", "field": ["a"], "message": "the words"}, None, "the words", None),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
async def test_words_of_nearly_documented_errors(
    answer: Any, slug: str | None, message: str, field: str | None, encoding: str
) -> None:
    """More fields, a missing status word, several messages and other encodings lose no word."""
    error = await _outcome("batch", _response(422, f"\n{json.dumps(answer)}\n".encode(encoding)))

    assert type(error) is BadRequestError
    assert (error.slug, error.message, error.field) == (slug, message, field)


async def test_error_in_another_encoding() -> None:
    """An error that is not UTF-8 keeps its words; in a success, such bytes are not guessed."""
    latin = '{"slug": "odd", "message": "the caf\u00e9"}'.encode("latin-1")
    error = await _outcome("batch", _response(400, latin))
    assert (error.slug, error.message) == ("odd", "the caf\ufffd")

    error = await _outcome("batch", _response(200, '{"batch_id": "\u00e9"}'.encode("latin-1")))
    assert isinstance(error, UnknownOutcomeError)

    error = await _outcome("batch", _response(400, b"\x00\x01the words\x1b[31m\x00"))
    assert error.message == "the words [31m"
    error = await _outcome("batch", _response(400, "<p>the words".encode("utf-16")))
    assert "the words" in str(error.message)


@pytest.mark.parametrize("more", [{"status": "error"}, {"slug": "odd"}])
async def test_success_beside_an_error(more: dict[str, str]) -> None:
    """An error beside the word success is an error."""
    error = await _outcome("calls", _response(200, json.dumps(TAKEN | more | {"message": "the words"}).encode()))
    assert type(error) is BadRequestError
    assert error.message == "the words"


@pytest.mark.parametrize("name", ["publish", "delist"])
@pytest.mark.parametrize("bucket", [["911234567890"], None])
async def test_words_of_refused_numbers(name: str, bucket: Any) -> None:
    """A refusal of numbers keeps slug, message and field."""
    answer = {"status": "failed", "slug": "odd", "message": "the words", "field": "f", "invalid_numbers": bucket}
    error = await _outcome(name, _response(400, json.dumps(answer).encode()))

    assert isinstance(error, NumbersRefusedError)
    assert (error.status, error.slug, error.message, error.field) == (400, "odd", "the words", "f")
    assert "the words" in str(error)
    assert (error.result.invalid or error.result.unmentioned) == set(NUMBERS)


async def test_error_without_words_shows_its_answer() -> None:
    """An envelope without slug and message shows the answer in its text."""
    error = await _outcome("labels", _response(400, b'{"status": "failed", "new_numbers": ["911234567890"]}'))

    assert "********7890" in str(error)
    assert error.message is None


@pytest.mark.parametrize("odd", [None, 7, "x"])
async def test_odd_record_of_a_batch_is_not_final(odd: Any) -> None:
    """A record that is no object keeps the batch from looking final."""
    status = await _outcome("status", _response(200, json.dumps(STATUS | {"data": [RECORD, odd]}).encode()))

    assert len(status.data) == 2
    assert not status.final


async def test_gzip_of_a_success() -> None:
    """A compressed success is read."""
    body = gzip.compress(json.dumps(TAKEN).encode())
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    assert (await _outcome("calls", head + body)).message == "fine"


@pytest.mark.parametrize("name", CALLS)
async def test_token_in_an_answer_is_masked(name: str) -> None:
    """A gateway that quotes the request does not get a token into an error, however the token looks."""
    token = "abc/def+ghi.jkl=12"
    answer = _response(400, f"<p>{token} was refused: X-Token={token}</p>".encode())
    credentials = Credentials("account", "key", "secret-api-key")
    async with raw_server(answer, token) as base_url, VBCSession(credentials, base_url=base_url) as vbc:
        try:
            results = await CALLS[name](vbc)
            error = results[0].error
        except BadRequestError as raised:
            error = raised

    assert "*** was refused" in str(error)
    assert "abc" not in f"{error!r} {error.message}"


@pytest.mark.parametrize("status", [200, 400])
async def test_middleware_that_reads_the_answer(status: int) -> None:
    """A middleware of the user's session may have read the answer before."""

    async def reads(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        await response.read()
        return response

    answer = _response(status, json.dumps(TAKEN if status == 200 else {"message": "the words"}).encode())
    credentials = Credentials("account", "key", "secret-api-key")
    async with (
        raw_server(answer) as base_url,
        aiohttp.ClientSession(middlewares=(reads,)) as http,
        VBCSession(credentials, base_url=base_url, http=http) as vbc,
    ):
        if status == 200:
            assert (await vbc.calls.push(record())).message == "fine"
        else:
            with pytest.raises(BadRequestError, match="the words"):
                await vbc.calls.push(record())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["batch", "labels"])
@pytest.mark.parametrize(
    "body", [b'{"message": "' + b"x" * 9_000_000 + b'"}', b"[" + b"[]," * 200_000 + b"[]]"], ids=["text", "values"]
)
@pytest.mark.parametrize("length", [True, False])
async def test_answer_that_is_too_long(name: str, body: bytes, length: bool) -> None:
    """An answer that is too long, with or without its length in front, is told by its status."""
    for status, kind in ((429, RateLimitedError), (400, BadRequestError), (200, None)):
        head = f"HTTP/1.1 {status} X\r\nConnection: close\r\n" + (f"Content-Length: {len(body)}\r\n" if length else "")
        error = await _outcome(name, f"{head}\r\n".encode() + body)

        expected = kind or (UnknownOutcomeError if name in ONCE else ServerError)
        assert type(error) is expected
        assert error.status == status
        assert "too long" in str(error) or isinstance(error, UnknownOutcomeError)


async def test_wait_for_all_records_of_a_batch() -> None:
    """A batch of two is not final while the server tells of one record only."""
    answer = _response(200, json.dumps(STATUS).encode())
    credentials = Credentials("account", "key", "secret-api-key")
    async with raw_server(answer) as base_url, VBCSession(credentials, base_url=base_url, api_policy=FAST) as vbc:
        assert (await vbc.calls.wait_for_batch(Batch("b", "v3", 1), timeout=5)).final
        with pytest.raises(StillPendingError):
            await vbc.calls.wait_for_batch(Batch("b", "v3", 2), timeout=0.1)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
async def test_second_list_of_a_session(kind: str) -> None:
    """The number of the first page is learnt once in a session."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.add_label("another")
        await vbc.numbers.publish(FEATURE_SET, ["+911234567890", "+911234567891"])
        counts: list[int] = []
        for _ in range(2):
            before = len(sandbox.log)
            found = await vbc.labels.list() if kind == "labels" else [one async for one in vbc.numbers.numbers()]
            assert len(found) >= 2
            counts.append(len(sandbox.log) - before)

    assert counts == ([3, 2] if kind == "labels" else [1, 1])
