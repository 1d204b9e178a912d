"""Parse the bodies of webhooks into typed events (API reference, "Webhooks"). Pure.

The documents contradict each other, so whatever they show for "there is none" is None here: a missing field, null, an
empty string, ``NA``, and a text without any digit where a number or a time belongs.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, Never, TypeAlias, cast

import attrs

from ..errors import WebhookError
from ..secret import mask_repr
from ..serialization import Serializable
from ..timestamps import read_timestamp

_Readers: TypeAlias = tuple[tuple[Callable[[Any], Any], list[str]], ...]
_ABSENT: Final = frozenset({"", "na", "n/a", "null", "none"})
_LONGEST_ABSENT: Final = max(map(len, _ABSENT))
_FALSE: Final = ("false", "0", "no")
_E164: Final = re.compile(r"[1-9][0-9]{6,14}").fullmatch
_DIGIT: Final = re.compile(r"[0-9]")
_SEPARATORS: Final = re.compile(r"[\s().\-]")
_MOST_ID: Final = 128
_SHORT: Final = 40
_MILLISECONDS_FROM: Final = 10**11  # as seconds, that is the year 5138
# Whatever is JSON or text, without a charset other than UTF-8 or a part of it.
_JSON_TYPE: Final = re.compile(
    r"\s*(application/([\w.+-]+\+)?json|text/(json|plain))\s*(;(?!.*charset\s*=\s*\"?(?!(utf-?8|us-ascii)\b)).*)?",
    re.IGNORECASE,
)


@attrs.frozen(kw_only=True, slots=False)
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


@attrs.frozen(kw_only=True, slots=False)
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


@attrs.frozen(kw_only=True, slots=False)
class UserFeedback(Event):
    """A user answered a feedback campaign (API reference, "User Feedback"), whose fields are not documented.

    Attributes:
        content: the answer, as it was sent.
    """

    content: Any = attrs.field(default=None, repr=False, hash=False)


@attrs.frozen(kw_only=True, slots=False)
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
    return content_type == "application/json" or _JSON_TYPE.fullmatch(content_type) is not None


def _event(raw: Mapping[str, Any]) -> Event:
    fields: dict[str, Any] = {"raw": raw}
    try:
        _read(_ENVELOPE, raw, fields)
        fields["event_type"] = kind = fields["event_type"] or ""
        if "cmb_payload" in raw or kind.casefold() == "cmb":
            if not isinstance(payload := raw.get("cmb_payload"), dict):
                _fail("cmb_payload", "must be an object")
            _read(_PAYLOAD, cast("dict[str, Any]", payload), fields, "cmb_payload.")
            start, end = fields.pop("preferred_from_time"), fields.pop("preferred_to_time")
            fields["slot"] = (start, end) if start and end and start <= end else None
            return _new(CallMeBack, fields)
    except WebhookError as error:
        if "event_id" in fields:
            error.event = UnknownEvent(event_id=fields["event_id"], event_type=fields.get("event_type") or "", raw=raw)
        raise
    if "content" in raw or "feedback" in kind.casefold():
        return _new(UserFeedback, {**fields, "content": raw.get("content")})
    return _new(UnknownEvent, fields)


def _new(kind: type[Event], fields: dict[str, Any]) -> Event:
    event = object.__new__(kind)  # attrs' own __init__ takes half as long as parsing the JSON
    object.__setattr__(event, "__dict__", fields)
    return event


def _read(readers: _Readers, raw: Mapping[str, Any], into: dict[str, Any], at: str = "") -> None:
    for read, names in readers:
        for name in names:
            try:
                into[name] = read(raw.get(name))
            except ValueError as error:
                _fail(at + name, str(error))


def _fail(place: str, problem: str) -> Never:
    raise WebhookError(f"webhook: {place}: {problem}", place=place)


# Readers of a field: each gets a JSON value, and raises ValueError with what it must be.


def _value(value: Any) -> str | float | None:
    """Return a text without white space around it, a number or a bool; None for what means "there is none"."""
    if isinstance(value, str):
        value = value.strip().encode("utf-8", "replace").decode()  # a lone surrogate would fail later, at its encoding
        return None if value.casefold() in _ABSENT else value
    if value is None or isinstance(value, int | float):
        return value
    raise ValueError("must be a text, a number or null")


def _text(value: Any) -> str | None:
    if isinstance(value, str) and len(text := value.strip()) > _LONGEST_ABSENT and text.isascii():
        return text
    value = _value(value)
    return value if value is None or isinstance(value, str) else str(value)


def _event_id(value: Any) -> str:
    text = _text(value)
    if text is None or len(text) > _MOST_ID or not text.isprintable():
        raise ValueError(f"must be a text of 1 to {_MOST_ID} printable characters")
    return text


def _truth(value: Any) -> bool:
    return value is True or (_text(value) or "").casefold() not in _FALSE


def _quantity(value: Any) -> str | float | None:
    """Return a number, or a text with at least one digit."""
    value = _value(value)
    if isinstance(value, bool):
        raise ValueError("must be digits, not true or false")  # noqa: TRY004 - see above
    return None if isinstance(value, str) and not _DIGIT.search(value) else value


def _number(value: Any) -> str | None:
    if not (isinstance(value, str) and _E164(value)):
        if (value := _quantity(value)) is None:
            return None
        value = _SEPARATORS.sub("", str(value)).removeprefix("+").removeprefix("00")
        if not _E164(value):
            raise ValueError("must be a phone number with its country code, 7 to 15 digits")
    return f"+{value}"


def _time(value: Any) -> datetime | None:
    value = _quantity(value)
    try:
        if (seconds := float(value or 0)) >= 0:
            seconds = seconds / 1000 if seconds >= _MILLISECONDS_FROM else seconds
            return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        if stamp := read_timestamp(value):
            return stamp
    raise ValueError("must be seconds since 1970")


def _date(value: Any) -> date | None:
    value = _quantity(value)
    try:
        return None if value is None else date.fromisoformat(str(value))
    except ValueError:
        raise ValueError("must be a date such as 2025-08-02") from None


def _remembered(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Remember what was read from short texts: times repeat at high rates, and a datetime takes long to make."""
    cached = functools.lru_cache(1024)(read)
    return lambda value: cached(value) if isinstance(value, str) and len(value) <= _SHORT else read(value)


_stamp: Final = _remembered(_time)
_ENVELOPE: Final = ((_event_id, ["event_id"]), (_text, ["event_type", "client_account_id"]), (_stamp, ["created_at"]))
_PAYLOAD: Final = (
    (_number, ["client_number", "business_number", "alternate_number"]),
    (_stamp, ["preferred_from_time", "preferred_to_time", "requested_at"]),
    (_remembered(_date), ["requested_date"]),
    (_text, ["requested_slot", "feature_set", "cmb_config_name"]),
    (_truth, ["is_interested"]),
)


# JSON


def _load(body: bytes | str) -> Mapping[str, Any]:
    try:
        if not isinstance(body, str):
            body = body.decode("utf-8" if body.startswith(b'{"') else json.detect_encoding(body))
        with contextlib.suppress(StopIteration, AttributeError):  # a wrong value, or no object
            found, end = _QUICK.scan_once(body, 0)
            objects: list[Any] = [one for one in (found, found.get("cmb_payload")) if isinstance(one, dict)]
            # Each pair has a colon: with as many names as colons, none is there twice.
            if end == len(body) and body.count(":") == sum(map(len, objects)):
                return cast("dict[str, Any]", found)
        raw: Any = _DECODER.decode(body)
    except json.JSONDecodeError as error:
        _fail(f"line {error.lineno} column {error.colno}", "is not JSON")
    except UnicodeDecodeError as error:
        _fail(f"byte {error.start}", "is not UTF-8")
    except (ValueError, TypeError, RecursionError):
        _fail("body", "is nested too deeply, has an integer of thousands of digits, or is neither bytes nor str")
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


_QUICK: Any = json.JSONDecoder(parse_constant=_no_constant)
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
