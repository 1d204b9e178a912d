"""Check call records and phone numbers before anything is sent, and render them for each endpoint."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import attrs

from ..errors import InvalidRecordError, Problem
from ..secret import mask_number, mask_numbers_in, mask_repr
from ..serialization import EPOCH_MS, Serializable, fields_error

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_DECORATED: Final = re.compile(r"[\s(]*\+[\s().-]*([1-9](?:[\s().-]*[0-9]){6,14})[\s().-]*")
_NO_PLUS: Final = re.compile(r"[\s().-]*[0-9](?:[\s().-]*[0-9]){6,}[\s().-]*")
_DIGITS: Final = re.compile(r"[0-9]+")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_EXAMPLE: Final = "'+911234567890'"

is_e164: Callable[[str], re.Match[str] | None] = _E164.fullmatch
"""Match text that is a number in E.164: a plus and 7 to 15 digits, the first of which is not zero."""


def number_problem(value: object) -> str:
    """Return what is wrong with a number that is not in E.164, and how to write it."""
    if value is None or value == "":
        return "is missing: a number such as '+911234567890' is needed"
    if not isinstance(value, str):
        return f"must be a string such as '+911234567890', not {type(value).__name__}"
    # Only digits that were written after a plus are offered: others lack a country code, or were damaged on the way.
    if (decorated := _DECORATED.fullmatch(value)) and "(0)" not in value:
        return f"{value!r} is not in E.164: write '+{''.join(_DIGITS.findall(decorated[1]))}'"
    if _NO_PLUS.fullmatch(value):
        return f"{value[:40]!r} is not in E.164: a plus and the country code are needed, as in '+911234567890'"
    return f"{value[:40]!r} is no phone number: E.164 is needed, such as '+911234567890'"


def masked_number_problem(value: object) -> str:
    """Return `number_problem` with all but the last four digits masked, for errors, which end in logs."""
    return _QUOTED.sub(lambda text: text[0] if text[0] == _EXAMPLE else mask_number(text[0]), number_problem(value))


plain: Callable[[str], str] = str.__str__
"""Render an E.164 number for batch v3: its own text, also for a str Enum."""


def without_plus(number: str) -> str:
    """Render an E.164 number without the plus, for real-time v2 and the number management."""
    return number[1:]


_DAY: Final = 24 * 60 * 60 * 1000
# The years 2000 and 2200 in milliseconds: values outside were meant as seconds or microseconds.
_FIRST_MS: Final = 946_684_800_000
_LAST_MS: Final = 7_258_118_400_000
_S_RANGE: Final = range(946_684_800, 7_258_118_400)
_LABEL_NAME: Final = range(3, 41)
_REASON: Final = range(10, 101)
_FORBIDDEN: Final = re.compile(r"[!@#$%^&*()_+/]")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ID: Final = re.compile(r"[\x21-\x7e]{1,100}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _epoch_ms(value: datetime | int) -> int:
    """Return milliseconds since 1970; other values stay unchanged, for the check that names all problems."""
    if isinstance(value, datetime) and value.utcoffset() is not None:
        since = value - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    return value  # type: ignore[return-value]


# FastAPI takes a parameter as the body if its class is a dataclass: it asks attrs classes for no schema before that.
@dataclass(init=False, repr=False, eq=False, match_args=False, kw_only=True)
@attrs.define(frozen=True, init=False, kw_only=True)
class CallRecord(Serializable):
    """Describe the numbers and the window of a call, and what the phone shows (API reference, "Call personalisation").

    The fields have their names on the wire. All problems are reported together, before anything is sent.

    Args:
        caller_number: one of your verified business numbers, in E.164: ``"+911234567890"``. It is rendered as each
            endpoint requires.
        receiver_number: number that will be called, in E.164.
        starts_at: when the window opens: an aware datetime, or epoch milliseconds.
        ends_at: when it closes, at most 24 hours later, and not in the past when it is sent.
        label_id: ID of a *dynamic* label of your account (see `Labels.list`). Newer documents call it optional: pass
            None to leave it out deliberately.
        dynamic_label_name: 3 to 40 characters shown in place of the label's own name.
        dynamic_call_reason: 10 to 100 characters, without ``! @ # $ % ^ & * ( ) _ + /``; not starting or ending with a
            space or one of ``. , -``.

    Raises:
        InvalidRecordError: names every field that is wrong.
    """

    caller_number: str = attrs.field(repr=mask_repr)
    receiver_number: str = attrs.field(repr=mask_repr)
    starts_at: int = attrs.field(converter=_epoch_ms, metadata={EPOCH_MS: True})
    ends_at: int = attrs.field(converter=_epoch_ms, metadata={EPOCH_MS: True})
    label_id: str | None
    dynamic_label_name: str | None = None
    dynamic_call_reason: str | None = None

    def __init__(
        self,
        *,
        caller_number: str,
        receiver_number: str,
        starts_at: datetime | int,
        ends_at: datetime | int,
        label_id: str | None,
        dynamic_label_name: str | None = None,
        dynamic_call_reason: str | None = None,
    ) -> None:
        try:
            self.__attrs_init__(  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
                caller_number=caller_number,
                receiver_number=receiver_number,
                starts_at=starts_at,
                ends_at=ends_at,
                label_id=label_id,
                dynamic_label_name=dynamic_label_name,
                dynamic_call_reason=dynamic_call_reason,
            )
        except InvalidRecordError as error:
            # A traceback that captures locals would print them, and those of the frames that are dropped here.
            del self, caller_number, receiver_number, starts_at, ends_at
            raise error.with_traceback(None) from None

    def __attrs_post_init__(self) -> None:
        # Fast path for valid records, of which there may be millions; all others are checked field by field.
        try:
            if (
                type(starts_at := self.starts_at) is int
                and type(ends_at := self.ends_at) is int
                and _FIRST_MS <= starts_at < ends_at <= starts_at + _DAY
                and ends_at < _LAST_MS
                and is_e164(self.receiver_number)
                and _is_caller(self.caller_number)
                and not _text_problems(self.label_id, self.dynamic_label_name, self.dynamic_call_reason)
            ):
                return
        except TypeError:
            pass  # neither text nor a number
        problems = self._problems() or [("", "must have plain strings and ints for its fields")]
        receiver = _shown(self.receiver_number or "")
        raise InvalidRecordError([Problem(field, text, None, receiver) for field, text in problems])

    def __post_init__(self) -> None:
        # msgspec, and so Litestar, builds a dataclass without its `__init__`, and calls this.
        self.__attrs_post_init__()

    @classmethod
    def from_mapping(cls, row: Mapping[str, Any]) -> CallRecord:
        """Build a record from a row of a CSV file or a JSON object.

        Times may be ISO 8601 text with a zone, or epoch milliseconds as a number or text. Blank text counts as missing.
        An unknown column is a problem, since it may be misspelt. A label_id of None is taken as deliberate;
        `csv.DictReader` gives None for the missing cells of a short row, so give it ``restval=""``.

        Raises:
            InvalidRecordError: names every field that is wrong, missing or unknown.
        """
        try:
            return cls._from_row(row)
        except InvalidRecordError as error:
            del row  # a traceback that captures locals would print its numbers
            raise error.with_traceback(None) from None

    @classmethod
    def _from_row(cls, row: Mapping[str, Any]) -> CallRecord:
        get = row.get
        if _is_dict(row) and type(get("starts_at")) is int:
            # Fast path: most text needs neither trimming nor parsing.
            record = cls.__new__(cls)
            try:
                record.__attrs_init__(**row)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
            except (InvalidRecordError, TypeError):
                pass
            else:
                return record
        label_id = _text(get("label_id", ""))
        if not _NAMES.issuperset(row) or (label_id is None and get("label_id", "") is not None):
            return cls._refuse(row)
        return cls(
            caller_number=_text(get("caller_number")),
            receiver_number=_text(get("receiver_number")),
            starts_at=_time(get("starts_at")),
            ends_at=_time(get("ends_at")),
            label_id=label_id,
            dynamic_label_name=_text(get("dynamic_label_name")),
            dynamic_call_reason=_text(get("dynamic_call_reason")),
        )

    @classmethod
    def _refuse(cls, row: Mapping[str, Any]) -> NoReturn:
        """Collect all problems of a row that has unknown columns or misses the label."""
        problems: list[Problem] = []
        known = {name: row.get(name) for name in _NAMES}
        try:
            cls.from_mapping({**known, "label_id": _text(known["label_id"])})
        except InvalidRecordError as error:
            problems += error.problems
        unknown = [name for name in row if name not in _NAMES]
        extra = [(mask_numbers_in(_shown(name)), f"is no field; there are {', '.join(_FIELDS)}") for name in unknown]
        if _text(row.get("label_id", "")) is None and row.get("label_id", "") is not None:
            extra.append(("label_id", "is missing: give the dynamic label's ID, or None to leave it out deliberately"))
        receiver = _shown(_text(known["receiver_number"]) or "")
        raise InvalidRecordError([*problems, *(Problem(field, text, None, receiver) for field, text in extra)])

    @classmethod
    def _from_dict(cls, fields: Mapping[str, Any]) -> CallRecord:
        try:
            return cls.from_mapping(fields)
        except InvalidRecordError as error:
            wrong = [(problem.field, problem.text, fields.get(problem.field)) for problem in error.problems]
        raise fields_error(cls.__name__, wrong)

    def late(self, now: float) -> Problem | None:
        """Return the problem if the window has already closed.

        Args:
            now: seconds since 1970.
        """
        if self.ends_at >= now * 1000:
            return None
        return Problem("ends_at", "lies in the past: the window has closed", None, self.receiver_number)

    def encoded(self, caller: Callable[[str], str], receiver: Callable[[str], str]) -> str:
        """Return the record as JSON, with its numbers rendered by the given functions."""
        # Concatenated, since numbers need no escapes and the rest is the same for a whole campaign.
        return (
            f'{{"caller_number":"{caller(self.caller_number)}","receiver_number":"{receiver(self.receiver_number)}",'
            f'"starts_at":{self.starts_at},"ends_at":{self.ends_at}'
            f"{_encoded_rest(self.label_id, self.dynamic_label_name, self.dynamic_call_reason)}}}"
        )

    def _problems(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for name in ("caller_number", "receiver_number"):
            number = getattr(self, name)
            if not isinstance(number, str) or not is_e164(number):
                found.append((name, masked_number_problem(number)))
        starts_at, ends_at = self.starts_at, self.ends_at
        in_order = _is_time(starts_at) and _is_time(ends_at)
        if not in_order:
            found += [
                (name, _time_problem(getattr(self, name)))
                for name in ("starts_at", "ends_at")
                if not _is_time(getattr(self, name))
            ]
        elif ends_at <= starts_at:
            found.append(("ends_at", "must be after starts_at"))
        elif ends_at - starts_at > _DAY:
            found.append(("ends_at", "must be at most 24 hours after starts_at"))
        return found + _look_at_texts(self.label_id, self.dynamic_label_name, self.dynamic_call_reason)


def _look_at_texts(label_id: object, name: object, reason: object) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if label_id is not None and not _is_id(label_id):
        found.append(("label_id", "must be the ID of a dynamic label, such as a UUID"))
    if name is not None and (text := _name_problem(name)):
        found.append(("dynamic_label_name", text))
    if reason is not None and (text := _reason_problem(reason)):
        found.append(("dynamic_call_reason", text))
    return found


# Texts repeat throughout a campaign: check and encode each once.
_text_problems = functools.lru_cache(maxsize=1024)(_look_at_texts)
_is_caller = functools.lru_cache(maxsize=1024)(is_e164)


@functools.lru_cache(maxsize=1024)
def _encoded_rest(label_id: str | None, name: str | None, reason: str | None) -> str:
    fields = {"label_id": label_id, "dynamic_label_name": name, "dynamic_call_reason": reason}
    given = {field: value for field, value in fields.items() if value is not None}
    return f",{json.dumps(given)[1:-1]}" if given else ""


# A class with slots has no attributes that `dataclass` could take the defaults from, and msgspec needs them.
for _field in dataclass_fields(CallRecord):
    if _field.name in {"dynamic_label_name", "dynamic_call_reason"}:
        _field.default = None

_FIELDS: Final = tuple(field.name for field in attrs.fields(CallRecord))
_NAMES: Final = frozenset(_FIELDS)


def _is_dict(value: object) -> bool:
    return type(value) is dict


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _is_time(value: object) -> bool:
    return type(value) is int and _FIRST_MS <= value < _LAST_MS


def _time_problem(value: object) -> str:
    if value is None or value == "":
        return "is missing: an aware datetime or epoch milliseconds are needed"
    if isinstance(value, datetime):
        return "needs a time zone: datetime(..., tzinfo=UTC), for example"
    if type(value) is int and value in _S_RANGE:
        return f"{value} looks like seconds: milliseconds are needed, {value * 1000}"
    if type(value) is int:
        return f"{mask_numbers_in(_shown(value))} is no time in epoch milliseconds of this age"
    return f"must be an aware datetime or epoch milliseconds, not {mask_numbers_in(_shown(value))!r}"


def _shown(value: object) -> str:
    try:
        return str(value)[:40]
    except ValueError:  # Python refuses to write a number of thousands of digits
        return "..."


def _name_problem(name: object) -> str:
    if not isinstance(name, str):
        return f"must be a string, not {type(name).__name__}"
    if len(name) not in _LABEL_NAME:
        return f"must have 3 to 40 characters, not {len(name)}"
    if _UNPRINTABLE.search(name) or name != name.strip():
        return "must have no control characters, and no space at either end"
    return ""


def _reason_problem(reason: object) -> str:
    if not isinstance(reason, str):
        return f"must be a string, not {type(reason).__name__}"
    problems: list[str] = []
    if len(reason) not in _REASON:
        problems.append(f"must have 10 to 100 characters, not {len(reason)}")
    if wrong := _FORBIDDEN.findall(reason):
        problems.append(f"must not have {' '.join(dict.fromkeys(wrong))}")
    if reason.strip(".,- \t\r\n") != reason:
        problems.append("must not begin or end with a space or one of . , -")
    if _UNPRINTABLE.search(reason):
        problems.append("must not have control characters")
    return ", and ".join(problems)


def _text(value: Any) -> Any:
    """Return text without surrounding blanks; None if nothing is left."""
    return value.strip() or None if type(value) is str else value


def _time(value: Any) -> Any:
    """Parse a time given as text or as a whole float, if it is one."""
    if type(value) is int:
        return value
    value = _text(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    if value.isascii() and value.isdigit() and len(value) < 20:  # noqa: PLR2004
        return int(value)
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return value
