"""Read call records and check them against the documented rules."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Container
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeGuard

import attrs
from aiohttp import web

from .responses import is_object
from .tokens import fingerprint

NO_PLUS: Final = re.compile(r"[1-9][0-9]{6,14}")
WITH_PLUS: Final = re.compile(r"\+[1-9][0-9]{6,14}")
EITHER: Final = re.compile(r"\+?[1-9][0-9]{6,14}")
_FORMATS: Final = {
    NO_PLUS: "digits with the country code and no plus",
    WITH_PLUS: "in E.164 format with a plus",
    EITHER: "digits with the country code",
}
_LONGEST_WINDOW_MS: Final = 24 * 60 * 60 * 1000
_INT64: Final = 2**63
_NAME_LENGTH: Final = (3, 40)
_REASON_LENGTH: Final = (10, 100)
_FORBIDDEN: Final = re.compile(r"[!@#$%^&*()_+/]")
_BAD_ENDS: Final = (".", ",", "-", " ")


class RecordFault(NamedTuple):
    """Describe what is wrong with a record."""

    field: str
    message: str


class RecordRules:
    """Check records whose numbers must match `numbers` and whose label must be in `label_ids`, which may grow."""

    def __init__(self, numbers: re.Pattern[str], label_ids: Container[str]) -> None:
        self._numbers = numbers
        self._label_ids = label_ids

    def problem(self, record: Any, now_ms: float) -> RecordFault | None:
        """Return the first problem of `record` at the wall time `now_ms`, or None."""
        if not is_object(record):
            return RecordFault("", "a call record must be a JSON object")
        return (
            self._of_label(record)
            or self._of_number(record, "caller_number")
            or self._of_number(record, "receiver_number")
            or _of_window(record, now_ms)
            or _of_length(record, "dynamic_label_name", _NAME_LENGTH)
            or _of_length(record, "dynamic_call_reason", _REASON_LENGTH)
            or _of_reason(record)
        )

    def _of_label(self, record: dict[str, Any]) -> RecordFault | None:
        label_id = record.get("label_id")
        if not label_id:
            return RecordFault("label_id", "label_id is required")
        if not isinstance(label_id, str) or label_id not in self._label_ids:
            return RecordFault("label_id", "label_id must be a dynamic label of the client account")
        return None

    def _of_number(self, record: dict[str, Any], field: str) -> RecordFault | None:
        number = record.get(field)
        if isinstance(number, str) and self._numbers.fullmatch(number):
            return None
        return RecordFault(field, f"{field} must be {_FORMATS[self._numbers]}" if number else f"{field} is required")


def _of_window(record: dict[str, Any], now_ms: float) -> RecordFault | None:
    starts_at, ends_at = record.get("starts_at"), record.get("ends_at")
    if not _is_moment(starts_at):
        return _no_moment("starts_at", starts_at)
    if not _is_moment(ends_at):
        return _no_moment("ends_at", ends_at)
    if ends_at < now_ms:
        return RecordFault("ends_at", "ends_at cannot be in the past")
    if ends_at <= starts_at:
        return RecordFault("ends_at", "ends_at must be after starts_at")
    if ends_at - starts_at > _LONGEST_WINDOW_MS:
        return RecordFault("ends_at", "ends_at cannot be more than 24 hours after starts_at")
    return None


def _is_moment(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < _INT64


def _no_moment(field: str, value: Any) -> RecordFault:
    wrong = "is required" if value is None else "must be an integer of epoch milliseconds"
    return RecordFault(field, f"{field} {wrong}")


def _of_length(record: dict[str, Any], field: str, limits: tuple[int, int]) -> RecordFault | None:
    if field not in record:
        return None
    text = record[field]
    if isinstance(text, str) and limits[0] <= len(text) <= limits[1]:
        return None
    return RecordFault(field, f"{field} must have {limits[0]} to {limits[1]} characters")


def _of_reason(record: dict[str, Any]) -> RecordFault | None:
    reason = record.get("dynamic_call_reason")
    return None if reason is None else _of_text(reason)


# Texts repeat throughout a campaign.
@lru_cache(maxsize=256)
def _of_text(reason: str) -> RecordFault | None:
    field = "dynamic_call_reason"
    if _FORBIDDEN.search(reason):
        return RecordFault(field, f"{field} cannot contain any of ! @ # $ % ^ & * ( ) _ + /")
    if reason.startswith(_BAD_ENDS) or reason.endswith(_BAD_ENDS):
        return RecordFault(field, f"{field} cannot begin or end with a full stop, comma, hyphen or space")
    return None


_MOST_RECORDS = 100_000
_BEARER = "Bearer "


@attrs.frozen
class RequestRecord:
    """Describe one request that reached a handler.

    Attributes:
        at: when it arrived, on the sandbox's clock.
        method: ``POST`` for example.
        path: without the query.
        status: status of the answer, or None if no whole answer was sent: dropped, hanging, or the client left.
        fingerprint: 8 hex digits of the SHA-256 of the bearer token, or None without a token.
        has_authorization: whether there was an ``Authorization`` header at all.
    """

    at: float
    method: str
    path: str
    status: int | None
    fingerprint: str | None
    has_authorization: bool


class RequestLog:
    """Keep the last 100,000 records, in the order in which the requests ended.

    Attributes:
        token_requests: how many requests reached the token endpoint.
    """

    def __init__(self) -> None:
        self.token_requests = 0
        self._records: deque[RequestRecord] = deque(maxlen=_MOST_RECORDS)

    def note(self, at: float, request: web.Request, status: int | None) -> None:
        """Record `request`."""
        token = bearer(request)
        self._records.append(
            RequestRecord(
                at,
                request.method,
                request.path,
                status,
                None if token is None else fingerprint(token),
                "Authorization" in request.headers,
            )
        )

    def records(self) -> list[RequestRecord]:
        """Return a copy that later requests do not change."""
        return list(self._records)


def bearer(request: web.Request) -> str | None:
    """Return the bearer token of the ``Authorization`` header, or None."""
    header = request.headers.get("Authorization")
    return header[len(_BEARER) :] if header is not None and header.startswith(_BEARER) else None
