"""Parse the bodies of webhooks into typed events (API reference, "Webhooks"). Pure.

The documents contradict each other, so whatever they show for "there is none" is None here: a missing field, null, an
empty string, ``NA``, and a text without any digit where a number or a time belongs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, Never, cast

import attrs

from ..errors import WebhookError
from ..secret import mask_repr
from ..serialization import Serializable
from ..timestamps import read_timestamp

_ABSENT: Final = frozenset({"", "na", "n/a", "null", "none"})
_FALSE: Final = ("false", "0", "no")
_E164: Final = re.compile(r"[1-9][0-9]{6,14}")
# What is as documented is read by these alone, which is faster.
_SECONDS: Final = re.compile(r"[1-9][0-9]{9}")
_PLAIN: Final = re.compile(r"[!-~][ -~]{3,}[!-~]")
_DIGIT: Final = re.compile(r"[0-9]")
_SEPARATORS: Final = re.compile(r"[\s().\-]")
_MOST_ID: Final = 128
_MILLISECONDS_FROM: Final = 10**11  # as seconds, that is the year 5138
_JSON_TYPE: Final = re.compile(r"(application/([\w.+-]+\+)?json|text/(json|plain))\s*(;.*)?", re.IGNORECASE)
_CHARSET: Final = re.compile(r"charset\s*=\s*\"?(?!(?:utf-?8|us-ascii)\b)", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Event(Serializable):
    """Anything that a webhook can bring. Numbers are masked in the repr.

    Attributes:
        event_id: the same for each delivery of the same event.
        event_type: as it was sent.
        client_account_id: the account, or None.
        created_at: aware, in UTC, or None.
        raw: the whole JSON object, unchanged.
    """

    event_id: str
    event_type: str = ""
    client_account_id: str | None = None
    created_at: datetime | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False, hash=False)


@attrs.frozen(kw_only=True)
class CallMeBack(Event):
    """A user asks for a call, or says that none is wanted (API reference, "Call Me Back"). Numbers are E.164 with plus.

    Attributes:
        client_number: of the user; None if the phone could not read it ("Phone number not available").
        business_number: that was called or that called.
        alternate_number: that the user gave, or None.
        slot: begin and end of the time that the user chose, aware; or None.
        requested_at: aware, or None.
        requested_date: or None.
        requested_slot: a text, often the day of the week, or None.
        is_interested: False if the user pressed "Not interested"; True if the field is missing.
        feature_set: its name, or None.
        cmb_config_name: or None.
    """

    client_number: str | None = attrs.field(default=None, repr=mask_repr)
    business_number: str | None = attrs.field(default=None, repr=mask_repr)
    alternate_number: str | None = attrs.field(default=None, repr=mask_repr)
    slot: tuple[datetime, datetime] | None = None
    requested_at: datetime | None = None
    requested_date: date | None = None
    requested_slot: str | None = None
    is_interested: bool = True
    feature_set: str | None = None
    cmb_config_name: str | None = None


@attrs.frozen(kw_only=True)
class UserFeedback(Event):
    """A user answered a feedback campaign (API reference, "User Feedback"), whose fields are not documented.

    Attributes:
        content: the answer, as it was sent.
    """

    content: Any = attrs.field(default=None, repr=False, hash=False)


@attrs.frozen(kw_only=True)
class UnknownEvent(Event):
    """Anything else that has an ``event_id``."""


def parse(body: bytes | str, content_type: str | None = None) -> Event:
    """Parse the body of a webhook.

    Args:
        body: as it was received.
        content_type: the header, to be checked as well; None for no check.

    Raises:
        WebhookError: it is not JSON, has no ``event_id``, or contradicts the API reference beyond what is known.
    """
    if content_type is not None and not is_json(content_type):
        raise WebhookError("webhook: Content-Type: send application/json in UTF-8", place="Content-Type")
    try:
        return _event(_load(body))
    except WebhookError as error:
        del body  # a traceback that captures locals would print its numbers
        raise error.with_traceback(None) from None


def is_json(content_type: str) -> bool:
    """Return whether a ``Content-Type`` may be that of JSON in UTF-8."""
    return content_type == "application/json" or bool(
        _JSON_TYPE.fullmatch(content_type.strip()) and not _CHARSET.search(content_type)
    )


def _event(raw: Mapping[str, Any]) -> Event:
    event_id = _text(raw, "event_id")
    if event_id is None or len(event_id) > _MOST_ID or not event_id.isprintable():
        _fail("event_id", f"must be a text of 1 to {_MOST_ID} printable characters")
    try:
        return _typed(raw, event_id)
    except WebhookError as error:
        error.event = UnknownEvent(event_id=event_id, event_type=str(raw.get("event_type", ""))[:_MOST_ID], raw=raw)
        raise


def _typed(raw: Mapping[str, Any], event_id: str) -> Event:
    kind = _text(raw, "event_type") or ""
    if len(kind) > _MOST_ID:
        _fail("event_type", f"must have {_MOST_ID} characters at most")
    envelope: dict[str, Any] = {
        "event_id": event_id,
        "event_type": kind,
        "client_account_id": _text(raw, "client_account_id"),
        "created_at": _time(raw, "created_at"),
        "raw": raw,
    }
    if kind.casefold() == "cmb" or "cmb_payload" in raw:
        payload = raw.get("cmb_payload")
        if not isinstance(payload, dict):
            _fail("cmb_payload", "must be an object")
        return _call_me_back(envelope, cast("dict[str, Any]", payload))
    if "content" in raw or "feedback" in kind.casefold():
        return UserFeedback(content=raw.get("content"), **envelope)
    return UnknownEvent(**envelope)


def _call_me_back(envelope: dict[str, Any], payload: Mapping[str, Any]) -> CallMeBack:
    at = "cmb_payload."
    start, end = (_time(payload, name, at) for name in ("preferred_from_time", "preferred_to_time"))
    return CallMeBack(
        client_number=_number(payload, "client_number", at),
        business_number=_number(payload, "business_number", at),
        alternate_number=_number(payload, "alternate_number", at),
        slot=(start, end) if start and end and start <= end else None,
        requested_at=_time(payload, "requested_at", at),
        requested_date=_date(payload, "requested_date", at),
        requested_slot=_text(payload, "requested_slot", at),
        is_interested=_is_true(payload, "is_interested", at),
        feature_set=_text(payload, "feature_set", at),
        cmb_config_name=_text(payload, "cmb_config_name", at),
        **envelope,
    )


# Fields


def _fail(place: str, problem: str) -> Never:
    raise WebhookError(f"webhook: {place}: {problem}", place=place)


def _value(fields: Mapping[str, Any], name: str, at: str) -> str | float | None:
    """Return a text without white space around it, a number or a bool; None for what means "there is none"."""
    value = fields.get(name)
    if isinstance(value, str):
        value = value.strip()
        return None if value.casefold() in _ABSENT else value
    if value is None or isinstance(value, int | float):
        return value
    _fail(at + name, "must be a text, a number or null")


def _text(fields: Mapping[str, Any], name: str, at: str = "") -> str | None:
    value = fields.get(name)
    if type(value) is str and _PLAIN.fullmatch(value):
        return value
    if (value := _value(fields, name, at)) is None:
        return None
    return str(value).encode("utf-8", "replace").decode()  # a lone surrogate would fail later, at its encoding


def _is_true(fields: Mapping[str, Any], name: str, at: str) -> bool:
    if fields.get(name) is True:
        return True
    return (_text(fields, name, at) or "").casefold() not in _FALSE


def _quantity(fields: Mapping[str, Any], name: str, at: str) -> str | float | None:
    """Return a number, or a text with at least one digit."""
    value = _value(fields, name, at)
    if isinstance(value, bool):
        _fail(at + name, "must be digits, not true or false")
    return None if isinstance(value, str) and not _DIGIT.search(value) else value


def _number(fields: Mapping[str, Any], name: str, at: str) -> str | None:
    value = fields.get(name)
    if type(value) is str and _E164.fullmatch(value):
        return f"+{value}"
    if value == "":
        return None
    if (value := _quantity(fields, name, at)) is None:
        return None
    digits = _SEPARATORS.sub("", str(value)).removeprefix("+").removeprefix("00")
    if not _E164.fullmatch(digits):
        _fail(at + name, "must be a phone number with its country code, 7 to 15 digits")
    return f"+{digits}"


def _time(fields: Mapping[str, Any], name: str, at: str = "") -> datetime | None:
    value = fields.get(name)
    if type(value) is str and _SECONDS.fullmatch(value):
        return datetime.fromtimestamp(int(value), UTC)
    if not (value := _quantity(fields, name, at)):
        return None
    try:
        if not (seconds := float(value)):
            return None
        if seconds > 0:
            return datetime.fromtimestamp(seconds / 1000 if seconds >= _MILLISECONDS_FROM else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        if stamp := read_timestamp(value):
            return stamp
    _fail(at + name, "must be seconds since 1970")


def _date(fields: Mapping[str, Any], name: str, at: str) -> date | None:
    value = _quantity(fields, name, at)
    try:
        return None if value is None else date.fromisoformat(str(value))
    except ValueError:
        _fail(at + name, "must be a date such as 2025-08-02")


# JSON


def _load(body: bytes | str) -> Mapping[str, Any]:
    try:
        raw: Any = _DECODER.decode(body if isinstance(body, str) else body.decode(json.detect_encoding(body)))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise WebhookError(f"webhook: {place}: is not JSON", place=place) from None
    except UnicodeDecodeError as error:
        raise WebhookError(f"webhook: byte {error.start}: is not UTF-8", place=f"byte {error.start}") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        problem = "is nested too deeply, has an integer of thousands of digits, or is neither bytes nor str"
        raise WebhookError(f"webhook: body: {problem}", place="body") from None
    if not isinstance(raw, dict):
        _fail("body", "must be an object")
    return cast("dict[str, Any]", raw)


def _no_constant(_: str) -> Never:
    _fail("body", "NaN and Infinity are not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        _fail("body", "an object has a name twice")
    return fields


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
