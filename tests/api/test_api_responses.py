"""Test how responses are read, with every envelope, any status and any body."""

from __future__ import annotations

import json
import signal
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from truecaller_vbc import (
    APIConnectionError,
    APIError,
    BadRequestError,
    FailureReason,
    ForbiddenError,
    NotDeliveredError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    SessionClosedError,
    TokenError,
    UnauthorizedError,
    UnknownOutcomeError,
)
from truecaller_vbc.api.foreign_text import readable
from truecaller_vbc.api.number_results import is_refusal
from truecaller_vbc.api.responses import Failure, classify, is_passing, read_response

E1 = {"slug": "invalid-input", "message": "api_key is required"}
E2 = {"field": "ends_at", "message": "Request body is invalid", "status": "error"}
E3 = {"status_info": {"status": "error", "field": "ends_at", "message": "Request body is invalid"}}
E3_CAMEL = {"statusInfo": {"status": "ERROR", "field": None, "message": "Request body is invalid"}}
E4 = {"new_numbers": ["911234567891"], "existing_numbers": None, "status": "failed"}
E5 = {"message": "No CMB found for client Id"}


def read_error(status: int, body: Any, headers: dict[str, str] | None = None) -> APIError:
    """Return the error of a response."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(APIError) as caught:
        read_response(status, CIMultiDict(headers or {}), raw)
    return caught.value


@pytest.mark.parametrize("status", [200, 400, 422])
@pytest.mark.parametrize(
    ("body", "slug", "field", "words"),
    [
        (E1, "invalid-input", None, "api_key is required"),
        (E2, None, "ends_at", "Request body is invalid"),
        (E3, None, "ends_at", "Request body is invalid"),
        (E3_CAMEL, None, None, "Request body is invalid"),
        (E4, None, None, None),
        (E5, None, None, "No CMB found for client Id"),
        (E5 | {"data": None}, None, None, "No CMB found for client Id"),
        (E2 | {"field": ["ends_at"]}, None, None, "Request body is invalid"),
    ],
)
def test_every_envelope(status: int, body: Any, slug: str | None, field: str | None, words: str | None) -> None:
    """Every envelope becomes the same error with the same fields, also inside a 200."""
    error = read_error(status, body)

    assert type(error) is BadRequestError
    assert (error.status, error.slug, error.field, error.message) == (status, slug, field, words)
    assert (words or "HTTP") in str(error)
    assert field is None or f"(field {field})" in str(error)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, E2, UnauthorizedError),
        (200, {"slug": "authorization-error", "message": "please login again"}, UnauthorizedError),
        (400, {"slug": "authorization-error", "message": "please login again"}, UnauthorizedError),
        (500, {"slug": "internal-server-error", "message": "500/50011 - Failed to parse token"}, UnauthorizedError),
        (403, {}, ForbiddenError),
        (400, {"slug": "forbidden-error", "message": "not authorized. please contact your admin."}, ForbiddenError),
        (404, b"", NotFoundError),
        (429, b"slow down", RateLimitedError),
        (200, {"slug": "internal-server-error", "message": "oops"}, ServerError),
        (500, E1 | {"slug": "odd"}, ServerError),
        (502, b"<html><head><title>502 Bad Gateway</title></head></html>", ServerError),
        (999, [], ServerError),
        (302, b"", APIError),
        (101, b"", APIError),
        (418, b"", BadRequestError),
        (200, b"<p>Welcome!", ServerError),
        (204, b"\xff", ServerError),
    ],
)
def test_error_class(status: int, body: Any, kind: type[APIError]) -> None:
    """The class of the error follows the status, or the slug if the status does not decide."""
    assert type(read_error(status, body)) is kind


@pytest.mark.parametrize("reason", [reason for reason in FailureReason if reason is not FailureReason.INVALID_INPUT])
@pytest.mark.parametrize("status", [200, 400])
def test_undeliverable_record_is_a_not_delivered_error(reason: FailureReason, status: int) -> None:
    """A documented failure reason is a NotDeliveredError, since the request itself is correct."""
    error = read_error(status, {"status_info": {"status": "error", "message": f" {reason.upper()}. "}})

    assert isinstance(error, NotDeliveredError)
    assert error.reason is reason
    assert error.reason.may_pass == (reason is FailureReason.FAILED_TO_PUSH)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[]",
        b"{}",
        b"null",
        b'{"status_info": null}',
        b'{"status_info": {"status": "success", "message": "fine"}}',
        b'{"status": "pending", "message": "fine"}',
        b'{"slug": null, "message": null, "numbers": []}',
    ],
)
def test_any_json_without_an_error_is_a_success(body: bytes) -> None:
    """A 2xx response without an error in it returns its JSON."""
    assert read_response(200, {}, body) == (json.loads(body) if body.strip() else None)


def test_html_page_becomes_one_line_of_text() -> None:
    """The error shows the page as one line without mark-up, scripts and tokens."""
    page = b"""<!DOCTYPE html><html><head><title>503 Service\n Unavailable</title><style>p {color: red}</style></head>
    <body><script>alert("x")</script><h1>Sorry &amp; bye</h1><p>Authorization: Bearer abc.def-123</p></body></html>"""

    error = read_error(503, page, {"Retry-After": "7"})

    assert error.message == "503 Service Unavailable Sorry & bye Authorization: ***"
    assert "an HTML page" in str(error)
    assert error.retry_after == 7


@pytest.mark.parametrize("secret", ["Bearer xyz", "bearer: xyz", "A1" * 32])
def test_echoed_token_is_masked(secret: str) -> None:
    """A token that the server echoes in any field of any envelope is not in the error."""
    for body in (E1 | {"message": secret}, E1 | {"slug": secret}, E2 | {"field": secret}, secret.encode()):
        error = read_error(400, body)
        assert secret not in f"{error} {error!r} {vars(error)}"
        assert "xyz" not in f"{error} {error!r} {vars(error)}"


def test_accepted_refusal_is_returned_as_a_result() -> None:
    """A refusal that `accept` recognises is returned as JSON under any status below 500."""
    raw = json.dumps(E4).encode()

    seen: list[int] = []

    def accept(status: int, answer: Any) -> bool:
        seen.append(status)
        return is_refusal(answer)

    assert read_response(200, {}, raw, accept) == read_response(400, {}, raw, accept) == E4
    with pytest.raises(ServerError):
        read_response(500, {}, raw, accept)
    assert seen == [200, 400]
    with pytest.raises(BadRequestError):
        read_response(400, {}, json.dumps(E1).encode(), accept)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["slug", "message", "field", "status", "status_info", "statusInfo", "x"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)
bodies = st.binary() | json_like.map(lambda value: json.dumps(value).encode()) | st.text().map(str.encode)


@pytest.mark.slow
@given(st.integers(100, 999), bodies, st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0")))
def test_any_status_and_any_body(status: int, body: bytes, retry_after: str) -> None:
    """Any response gives JSON or an APIError whose text is one short line."""
    try:
        answer = read_response(status, CIMultiDict({"Retry-After": retry_after}), body)
    except APIError as error:
        assert error.status == status
        assert str(error)
        assert len(str(error)) < 1000
        assert "\n" not in str(error)
    else:
        assert 200 <= status < 300
        json.dumps(answer)


def test_deeply_nested_json_is_an_error() -> None:
    """JSON that is too deep for the parser is an APIError."""
    assert isinstance(read_error(200, b"[" * 100_000), ServerError)
    assert isinstance(read_error(400, b'{"a":' * 100_000), BadRequestError)


def test_character_reference_of_thousands_of_digits() -> None:
    """A page with a number that Python does not convert is an APIError like any other page."""
    reference = f"&#{'9' * 5_000};"
    assert isinstance(read_error(500, f"<title>{reference}</title>".encode()), ServerError)
    assert isinstance(read_error(400, json.dumps({"slug": "x", "message": reference}).encode()), BadRequestError)
    assert readable(f"out of order {reference}").startswith("out of order")


@given(st.text(max_size=3000))
def test_readable_is_one_short_line(text: str) -> None:
    """`readable` returns one line of limited length for any text."""
    line = readable(text)
    assert readable("word " * 100) == ("word " * 60) + "…"

    assert len(line) <= 301
    assert "\n" not in line
    assert "\x1b" not in line


@pytest.mark.parametrize("opening", ["<title>", "<title", "<", "<head></head   ", "<script>", "&", "bearer:", "A-"])
def test_unclosed_tags_do_not_block_the_loop(opening: str) -> None:
    """A page of unclosed tags is read in linear time; the test fails after 3 s of processor time."""

    def too_slow(*_: object) -> None:
        raise AssertionError("this grows with the square of the page")

    before = signal.signal(signal.SIGVTALRM, too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, 3)
    try:
        read_error(502, (opening * 100_000)[:100_000].encode())
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("kept", [2_000, 100_000])
def test_cut_text_shows_no_part_of_a_token(kept: int) -> None:
    """A text that is cut inside a token shows no part of the token."""
    text = " " * (kept - 30) + "A1" * 32
    error = read_error(400, {"slug": "x", "message": text} if kept == 2_000 else f"<p>{text[3:]}".encode())

    assert "A1" not in f"{error} {vars(error)}"
    assert "…" not in str(error)


@pytest.mark.parametrize("status", [200, 400, 403, 404, 422])
def test_failure_reason_takes_precedence_over_the_status(status: int) -> None:
    """A documented failure reason decides the error class, except for 401, 429 and 5xx."""
    body = {"status": "error", "message": "Not a Truecaller user"}

    assert type(read_error(status, body)) is NotDeliveredError
    assert type(read_error(401, body)) is UnauthorizedError
    assert type(read_error(429, body)) is RateLimitedError
    assert type(read_error(500, body)) is ServerError
    assert type(read_error(404, body | {"message": "Invalid input"})) is NotFoundError


@pytest.mark.parametrize(
    ("error", "outcome", "closed"),
    [
        (UnknownOutcomeError("lost"), "unknown", False),
        (ServerError("failed", status=500), "unknown", False),
        (APIError("switching", status=101), "unknown", False),
        (APIError("moved", status=302), "refused", True),
        (BadRequestError("wrong", status=400), "refused", False),
        (NotDeliveredError("not on Truecaller", status=200), "refused", False),
        (UnauthorizedError("dead", status=500), "refused", True),
        (ForbiddenError("no", status=403), "refused", True),
        (NotFoundError("no", status=404), "refused", True),
        (RateLimitedError("busy", status=429), "refused", True),
        (APIConnectionError("lost", sent=True), "unknown", False),
        (APIConnectionError("refused"), "unsent", True),
        (TokenError("none"), "unsent", True),
        (SessionClosedError("closed"), "unsent", True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_a_failure_means(error: Exception, outcome: str, closed: bool) -> None:
    """One function says what happened to the records, and whether the next request would fail as well."""
    assert classify(error) == Failure(cast(Any, outcome), closed=closed)


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (RateLimitedError("busy", status=429), True),
        (ServerError("down", status=503), True),
        (ServerError("failed", status=500), False),
        (BadRequestError("wrong", status=503), False),
        (APIConnectionError("lost"), True),
        (APIConnectionError("certificate", retryable=False), False),
    ],
)
def test_what_may_pass(error: Exception, passing: bool) -> None:
    """A refusal never passes, whatever its status."""
    assert is_passing(error) is passing


@pytest.mark.parametrize("status", [200, 400, 429, 500])
def test_e4_under_each_status(status: int) -> None:
    """The documented refusal of numbers is no result under 429 or a 5xx."""
    raw = json.dumps(E4).encode()
    kinds = {429: RateLimitedError, 500: ServerError}
    if status not in kinds:
        assert read_response(status, {}, raw, lambda _, answer: is_refusal(answer)) == E4
        return
    with pytest.raises(kinds[status]):
        read_response(status, {}, raw, lambda _, answer: is_refusal(answer))


@pytest.mark.parametrize("message", ["500/50011", "Failed to parse token"])
def test_dead_token_by_number_or_by_words(message: str) -> None:
    """Either part of the documented message says that the token was not taken."""
    assert type(read_error(502, {"slug": "internal-server-error", "message": message})) is UnauthorizedError
    assert type(read_error(500, {"slug": "x", "message": "9150011223344"})) is ServerError


def test_too_large_says_to_send_fewer() -> None:
    """A 413 says what helps."""
    assert "send fewer" in str(read_error(413, b""))
    assert "send fewer" not in str(read_error(409, b""))


def test_words_of_a_body_that_is_no_envelope() -> None:
    """The start of the body is kept, without control characters and halves of characters."""
    assert read_error(400, {"error": "quota"}).message == '{"error": "quota"}'
    assert read_error(400, {}).message is None
    assert readable("a\u202eb\ufeffc\ud800d\x00e") == "a b c d e"
