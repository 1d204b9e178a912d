"""Turn a response into its JSON or an `APIError`, and classify errors, without any I/O.

Five shapes of errors are documented (API reference, "Error envelopes seen"). They do not contain the HTTP status, and
an error may come inside a 200. A gateway's HTML page is made readable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from ..errors import (
    APIConnectionError,
    APIError,
    BadRequestError,
    ForbiddenError,
    NotDeliveredError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnauthorizedError,
    UnknownOutcomeError,
)
from ..timestamps import read_retry_after
from ..transport import PARSE_FAILURE
from .foreign_text import cut_words, readable
from .models import FailureReason

JSON: TypeAlias = Any
FailureOutcome: TypeAlias = Literal["refused", "unknown", "unsent"]

_RETRYABLE_STATUS: Final = frozenset({502, 503, 504})
_TOO_LARGE: Final = 413

_MAX_KEPT: Final = 2_000
_MAX_READ: Final = 100_000
_read_json: Final = json.JSONDecoder().raw_decode
_NAMES: Final = ("slug", "field")
_ONLY_A_MESSAGE: Final = ({"message"}, {"message", "field"})
_DEAD_TOKEN: Final = re.compile(rf"\b50011\b|{PARSE_FAILURE}")

_BY_STATUS: Final[Mapping[int, type[APIError]]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    429: RateLimitedError,
}
_BY_SLUG: Final[Mapping[str, type[APIError]]] = {
    "authorization-error": UnauthorizedError,
    "forbidden-error": ForbiddenError,
    "internal-server-error": ServerError,
    "invalid-input": BadRequestError,
}
_ADVICE: Final[Mapping[type[APIError], str]] = {
    BadRequestError: "correct the request",
    NotDeliveredError: "the receiver cannot be reached this way",
    UnauthorizedError: "a fresh token was refused: check that the account ID belongs to the API key",
    ForbiddenError: "the API key lacks this feature: ask the account's admin to grant it",
    NotFoundError: "check the account ID and the ID in the path",
    RateLimitedError: "wait, and divide the rate between the processes that share the token",
    ServerError: "try again later",
    APIError: "check base_url",
}


@attrs.frozen
class Envelope:
    """Hold the fields of an error, in whichever shape it came.

    Args:
        slug: such as ``forbidden-error``.
        message: in the server's words.
        field: the request field that the error is about.
    """

    slug: str | None = None
    message: str | None = None
    field: str | None = None


@attrs.frozen
class Failure:
    """Say what a failed call means.

    Args:
        outcome: what happened to its records: ``refused`` by the API, ``unsent`` (surely not taken either), or
            ``unknown``.
        closed: whether every other request of the same kind would fail as well.
    """

    outcome: FailureOutcome
    closed: bool


def read_response(
    status: int, headers: Mapping[str, str], body: bytes, accept: Callable[[int, JSON], bool] | None = None
) -> JSON:
    """Return the JSON of a success; None for a success without a body.

    Args:
        status: the HTTP status.
        headers: headers of the response; ``Retry-After`` is read.
        body: body of the response.
        accept: recognises a refusal that the caller reads as a result, from its status (under 500, not 429) and JSON.

    Raises:
        APIError: the response is an error, whatever its status.
    """
    succeeded = 200 <= status < 300  # noqa: PLR2004
    try:
        answer = _parse(body, errors="strict" if succeeded else "replace") if body.strip() else None
    except (ValueError, RecursionError):
        raise _unreadable(status, headers, body) from None
    if accept is not None and status < 500 and status != 429 and accept(status, answer):  # noqa: PLR2004
        return answer
    envelope = read_envelope(answer, failed=not succeeded)
    if succeeded and envelope is None:
        return answer
    head = _head(body) if answer else None
    if envelope is None:
        error = _error(status, headers, Envelope(message=head))
    else:
        wordless = head and not (envelope.slug or envelope.message)
        error = _error(status, headers, envelope, note=f": {head}" if wordless else "")
    del answer  # a traceback that captures locals would print its phone numbers
    raise error


def read_envelope(answer: JSON, *, failed: bool = False) -> Envelope | None:
    """Return the error in an answer, or None for a success.

    Args:
        answer: JSON of the response.
        failed: whether the HTTP status is that of an error: then a message is one, whatever else is in the answer.
    """
    if not isinstance(answer, dict):
        return None
    fields = cast(dict[str, JSON], answer)
    nested = fields.get("status_info") or fields.get("statusInfo")
    if isinstance(nested, dict):
        inner = cast(dict[str, JSON], nested)
        if inner.get("status") == "success" and len(fields) == 1:
            return None  # the usual answer
        names_a_field = inner.get("status") is None and _text(inner.get("field"))
        if _is_bad(inner.get("status")) or names_a_field or (failed and _text(inner.get("message"))):
            return _envelope(inner, fields)
    if failed and _text(fields.get("message")):
        return _envelope(fields)
    if _text(fields.get("slug")) or _is_bad(fields.get("status")) or _has_only_a_message(fields):
        return _envelope(fields)
    return None


def undocumented_response(status: int, what: str, body: bytes = b"") -> ServerError:
    """Return the error of a success status with an undocumented body."""
    words = _head(body)
    told = f" ({words})" if words else ""
    return ServerError(f"HTTP {status}, but {what}{told}: try again later", status=status, message=words)


def classify(error: BaseException) -> Failure:
    """Say what an error of a typed call means; the only place that decides it."""
    if isinstance(error, UnknownOutcomeError | ServerError):
        return Failure("unknown", closed=False)
    if isinstance(error, APIError):
        if error.status < 200:  # noqa: PLR2004
            return Failure("unknown", closed=False)
        return Failure("refused", closed=not isinstance(error, BadRequestError | NotDeliveredError))
    if isinstance(error, APIConnectionError) and error.sent:
        return Failure("unknown", closed=False)
    return Failure("unsent", closed=True)


def lost_body(status: int, headers: Mapping[str, str]) -> APIError:
    """Return the error of an answer with the status of an error, whose body cannot be had."""
    return _error(status, headers, Envelope(), note=" (the rest of the answer was lost, broken or too long)")


def is_passing(error: BaseException) -> bool:
    """Tell whether the same request may succeed later. Only a 429 promises that nothing was done."""
    if isinstance(error, APIConnectionError):
        return error.retryable
    return isinstance(error, RateLimitedError) or (isinstance(error, ServerError) and error.status in _RETRYABLE_STATUS)


def _parse(body: bytes, errors: str) -> JSON:
    """Return the JSON of a body in UTF-8, or in another encoding of Unicode that shows."""
    try:
        text = body.strip().decode()
        answer, end = _read_json(text)  # in a third less time than json.loads
        if end == len(text):
            return answer
    except ValueError:
        pass
    return json.loads(body.decode(json.detect_encoding(body), errors))


def _unreadable(status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    kind = "an HTML page" if body.lstrip()[:1] == b"<" else "no JSON"
    if 200 <= status < 300:  # noqa: PLR2004
        return undocumented_response(status, f"the answer is {kind}", body)
    return _error(status, headers, Envelope(message=_head(body)), note=f" ({kind}, not from the API itself)")


def _head(body: bytes) -> str | None:
    """Return the start of a body as one readable line; None for an empty one."""
    head = body[: _MAX_READ + 1]
    # A text in UTF-16 or UTF-32 is full of zero bytes.
    encoding = json.detect_encoding(head) if head.count(0) > len(head) // 4 else "utf-8"
    return readable(cut_words(head.decode(encoding, "replace"), _MAX_READ)) or None


def _error(status: int, headers: Mapping[str, str], envelope: Envelope, *, note: str = "") -> APIError:
    kind = _error_class(status, envelope)
    parts = [f"HTTP {status}"]
    if envelope.slug:
        parts.append(envelope.slug)
    text = " ".join(parts) + (f": {envelope.message}" if envelope.message else "") + note
    if envelope.field:
        text += f" (field {envelope.field})"
    advice = "send fewer in one request" if status == _TOO_LARGE else _ADVICE[kind]
    error = kind(
        f"{text}; {advice}",
        status=status,
        slug=envelope.slug,
        message=envelope.message,
        field=envelope.field,
        retry_after=read_retry_after(headers),
    )
    if isinstance(error, NotDeliveredError):
        error.reason = FailureReason.of(envelope.message)
    return error


def _error_class(status: int, envelope: Envelope) -> type[APIError]:
    reason = FailureReason.of(envelope.message)
    # Checked before the status: a 404 for an unknown receiver does not mean that the path is wrong.
    if status < 500 and status not in (401, 429) and reason not in (None, FailureReason.INVALID_INPUT):  # noqa: PLR2004
        return NotDeliveredError
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if _DEAD_TOKEN.search(envelope.message or ""):
        return UnauthorizedError
    if (slug := envelope.slug or "") in _BY_SLUG:
        return _BY_SLUG[slug]
    if envelope.field or 200 <= status < 300 or 400 <= status < 500:  # noqa: PLR2004
        return BadRequestError
    return ServerError if status >= 500 else APIError  # noqa: PLR2004


def _envelope(*sources: dict[str, JSON]) -> Envelope:
    slug, field = (next(filter(None, (_text(fields.get(name)) for fields in sources)), None) for name in _NAMES)
    message = next(filter(None, (_message(fields.get("message")) for fields in sources)), None)
    return Envelope(slug, message, field)


def _has_only_a_message(fields: dict[str, JSON]) -> bool:
    return {name for name, value in fields.items() if value is not None} in _ONLY_A_MESSAGE


def _is_bad(status: JSON) -> bool:
    return isinstance(status, str) and status.strip().lower() in ("error", "failed", "failure", "fail")


def _text(value: JSON) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    return readable(cut_words(str(value), _MAX_KEPT)) or None


def _message(value: JSON) -> str | None:
    """Return a message, also one that is not a text, such as a list of several."""
    return _text(json.dumps(value, ensure_ascii=False) if value and isinstance(value, dict | list) else value)
