"""Turn a response into its JSON or an `APIError`, and classify errors, without any I/O.

Five shapes of errors are documented (API reference, "Error envelopes seen"). They do not contain the HTTP status, and
an error may come inside a 200. A gateway's HTML page is made readable.
"""

from __future__ import annotations

import functools
import html
import json
import re
import string
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
from ..secret import mask_numbers_in
from ..timestamps import read_retry_after
from ..transport import PARSE_FAILURE
from .models import FailureReason

JSON: TypeAlias = Any
FailureOutcome: TypeAlias = Literal["refused", "unknown", "unsent"]

_RETRYABLE_STATUS: Final = frozenset({502, 503, 504})
_TOO_LARGE: Final = 413

_MAX_SHOWN: Final = 300
_MAX_KEPT: Final = 2_000
_MAX_READ: Final = 100_000
_CODE: Final = re.compile(r"<(script|style|head)\b.*?(</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
# Bounded, so that a page of unclosed tags cannot block the loop.
_TITLE: Final = re.compile(r"<title[^<>]*>([^<]*)</title", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")
_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+")
# A gateway's error page may quote the request with its Authorization header.
_SECRETS: Final = re.compile(r"(?i:bearer)[\s:=]+[^\s\"'<>]+|[A-Za-z0-9_-]{40,}")
_TOKEN_ALPHABET: Final = f"{string.ascii_letters}{string.digits}_-"

_MIN_SECRET: Final = 8
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
    try:
        answer = json.loads(body.decode("utf-8-sig" if body[:1] == b"\xef" else "utf-8")) if body.strip() else None
    except (ValueError, RecursionError):
        raise _unreadable(status, headers, body) from None
    if accept is not None and status < 500 and status != 429 and accept(status, answer):  # noqa: PLR2004
        return answer
    envelope = read_envelope(answer)
    if 200 <= status < 300 and envelope is None:  # noqa: PLR2004
        return answer
    error = _error(status, headers, envelope or Envelope(message=_head(body) if answer else None))
    del answer  # a traceback that captures locals would print its phone numbers
    raise error


def mask_token(body: bytes, authorization: str) -> bytes:
    """Mask the token of the request in an answer, plain or escaped for HTML, JSON or a URL.

    Args:
        body: body of the response.
        authorization: the header that was sent; ``""`` for no header.
    """
    token = authorization.rpartition(" ")[2]
    if len(token) < _MIN_SECRET or _longest_run(token) not in body:
        return body
    return re.sub("".join(map(_escaped, token)).encode(), b"***", body)


@functools.lru_cache(maxsize=4)
def _longest_run(token: str) -> bytes:
    """Return the longest part of a token that no escaping changes."""
    return max(re.findall(r"[A-Za-z0-9]+", token), key=len, default="").encode()


def _escaped(character: str) -> str:
    if character.isalnum():
        return character
    code = ord(character)
    return rf"(?:\\?{re.escape(character)}|&#0*{code};|(?i:&#x0*{code:x};|\\u{code:04x}|%{code:02x}))"


def read_envelope(answer: JSON) -> Envelope | None:
    """Return the error in an answer, or None for a success."""
    if not isinstance(answer, dict):
        return None
    fields = cast(dict[str, JSON], answer)
    nested = fields.get("status_info") or fields.get("statusInfo")
    if isinstance(nested, dict):
        status = cast(dict[str, JSON], nested).get("status")
        if _is_bad(status):
            return _envelope(cast(dict[str, JSON], nested))
        if status == "success" and len(fields) == 1:
            return None  # the usual answer
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


def is_passing(error: BaseException) -> bool:
    """Tell whether the same request may succeed later. Only a 429 promises that nothing was done."""
    if isinstance(error, APIConnectionError):
        return error.retryable
    return isinstance(error, RateLimitedError) or (isinstance(error, ServerError) and error.status in _RETRYABLE_STATUS)


def readable(text: str) -> str:
    """Reduce foreign text to one line of limited length, without mark-up and without anything like a token."""
    title = _TITLE.search(text)
    plain = html.unescape(_TAG.sub(" ", _CODE.sub(" ", text)))
    if title is not None:
        plain = f"{html.unescape(title[1])} {plain}"
    line = mask_numbers_in(_SECRETS.sub("***", _BLANK.sub(" ", plain)).strip())
    return line if len(line) <= _MAX_SHOWN else line[:_MAX_SHOWN] + "…"


def _unreadable(status: int, headers: Mapping[str, str], body: bytes) -> APIError:
    kind = "an HTML page" if body.lstrip()[:1] == b"<" else "no JSON"
    if 200 <= status < 300:  # noqa: PLR2004
        return undocumented_response(status, f"the answer is {kind}", body)
    return _error(status, headers, Envelope(message=_head(body)), note=f" ({kind}, not from the API itself)")


def _head(body: bytes) -> str | None:
    """Return the start of a body as one readable line; None for an empty one."""
    return readable(_cut(body[: _MAX_READ + 1].decode("utf-8", "replace"), _MAX_READ)) or None


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


def _envelope(fields: dict[str, JSON]) -> Envelope:
    return Envelope(_text(fields.get("slug")), _text(fields.get("message")), _text(fields.get("field")))


def _has_only_a_message(fields: dict[str, JSON]) -> bool:
    return "message" in fields and {name for name, value in fields.items() if value is not None} == {"message"}


def _is_bad(status: JSON) -> bool:
    return isinstance(status, str) and status.strip().lower() in ("error", "failed", "failure")


def _text(value: JSON) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    return readable(_cut(str(value), _MAX_KEPT)) or None


def _cut(text: str, most: int) -> str:
    """Shorten a text at a word boundary, since a part of a token is not recognised as a secret."""
    return text if len(text) <= most else text[:most].rstrip(_TOKEN_ALPHABET)
