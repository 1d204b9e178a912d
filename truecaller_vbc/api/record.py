"""`CallRecord`: what a caller tells the API of a call to come, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

import attrs

from ..errors import InvalidRecordError, Problem
from .phone import is_e164, number_problem

_DAY: Final = 24 * 60 * 60 * 1000
# In milliseconds, the year 2000 and the year 2200: what lies outside was meant as seconds or microseconds.
_MS_RANGE: Final = range(946_684_800_000, 7_258_118_400_000)
_S_RANGE: Final = range(946_684_800, 7_258_118_400)
_LABEL_NAME: Final = range(3, 41)
_REASON: Final = range(10, 101)
_FORBIDDEN: Final = re.compile(r"[!@#$%^&*()_+/]")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ID: Final = re.compile(r"[\x21-\x7e]{1,100}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _epoch_ms(value: datetime | int) -> int:
    """Milliseconds since 1970; what cannot be converted stays as it is, for the check that names all problems."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        since = value - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    return cast(int, value)


@attrs.frozen(kw_only=True)
class CallRecord:
    """Who calls whom, when, and what the receiver's phone shall show (API reference, "Call personalisation").

    The fields have their names on the wire. All problems are named at once, before anything is sent.

    Args:
        caller_number: one of your verified business numbers, in E.164: ``"+911234567890"``. The session writes it as
            each endpoint wants it.
        receiver_number: who will be called, in E.164.
        starts_at: when the window opens: an aware datetime, or epoch milliseconds.
        ends_at: when it closes, at most 24 hours later, and not in the past when it is sent.
        label_id: the *dynamic* label of your account (see `Labels.list`). Newer documents call it optional: None
            says that you mean it.
        dynamic_label_name: 3 to 40 characters shown in place of the label's own name.
        dynamic_call_reason: 10 to 100 characters, without ``! @ # $ % ^ & * ( ) _ + /``, and with none of
            ``. , -`` or a space at either end.

    Raises:
        InvalidRecordError: names every field that is wrong.
    """

    caller_number: str
    receiver_number: str
    starts_at: int = attrs.field(converter=_epoch_ms)
    ends_at: int = attrs.field(converter=_epoch_ms)
    label_id: str | None
    dynamic_label_name: str | None = None
    dynamic_call_reason: str | None = None

    def __attrs_post_init__(self) -> None:
        problems = self._problems()
        if problems:
            receiver = str(self.receiver_number)[:40]
            raise InvalidRecordError([Problem(field, text, None, receiver) for field, text in problems])

    @classmethod
    def from_mapping(cls, row: Mapping[str, Any]) -> CallRecord:
        """A record from a row of a CSV file or an object of JSON.

        Times may be ISO 8601 text with a zone, or epoch milliseconds as a number or text. Blank text counts as
        missing. A column that the API does not know is a problem: it may be a misspelt one.

        Raises:
            InvalidRecordError: names every field that is wrong, missing or unknown.
        """
        unknown = [name for name in row if name not in _FIELDS]
        values: dict[str, Any] = {name: _given(row.get(name)) for name in _FIELDS}
        for name in ("starts_at", "ends_at"):
            values[name] = _time(values[name])
        extra = [Problem(str(name)[:40], f"is no field; there are {', '.join(_FIELDS)}") for name in unknown]
        if row.get("label_id", "") == "":
            extra.append(Problem("label_id", "is missing: give the dynamic label's ID, or null on purpose"))
        try:
            record = cls(**values)
        except InvalidRecordError as error:
            raise InvalidRecordError([*error.problems, *extra]) from None
        if extra:
            raise InvalidRecordError([attrs.evolve(problem, receiver=record.receiver_number) for problem in extra])
        return record

    def late(self, now: float) -> Problem | None:
        """The problem of a window that has closed already.

        Args:
            now: seconds since 1970.
        """
        if self.ends_at >= now * 1000:
            return None
        return Problem("ends_at", "lies in the past: the window has closed", None, self.receiver_number)

    def rendered(self, caller: Callable[[str], str], receiver: Callable[[str], str]) -> dict[str, str | int]:
        """The record as JSON, with its numbers as an endpoint wants them."""
        fields: dict[str, str | int] = {
            "caller_number": caller(self.caller_number),
            "receiver_number": receiver(self.receiver_number),
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
        }
        if self.label_id is not None:
            fields["label_id"] = self.label_id
        if self.dynamic_label_name is not None:
            fields["dynamic_label_name"] = self.dynamic_label_name
        if self.dynamic_call_reason is not None:
            fields["dynamic_call_reason"] = self.dynamic_call_reason
        return fields

    def _problems(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for name in ("caller_number", "receiver_number"):
            number = getattr(self, name)
            if not isinstance(number, str) or not is_e164(number):
                found.append((name, number_problem(number)))
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
        if self.label_id is not None and not _is_id(self.label_id):
            found.append(("label_id", "must be the ID of a dynamic label, such as a UUID"))
        if self.dynamic_label_name is not None and (text := _name_problem(self.dynamic_label_name)):
            found.append(("dynamic_label_name", text))
        if self.dynamic_call_reason is not None and (text := _reason_problem(self.dynamic_call_reason)):
            found.append(("dynamic_call_reason", text))
        return found


_FIELDS: Final = tuple(field.name for field in attrs.fields(CallRecord))


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _is_time(value: object) -> bool:
    return type(value) is int and value in _MS_RANGE


def _time_problem(value: object) -> str:
    if value is None or value == "":
        return "is missing: an aware datetime or epoch milliseconds are needed"
    if isinstance(value, datetime):
        return "needs a time zone: datetime(..., tzinfo=UTC), for example"
    if type(value) is int and value in _S_RANGE:
        return f"{value} looks like seconds: milliseconds are needed, {value * 1000}"
    if type(value) is int:
        return f"{value} is no time in epoch milliseconds of this age"
    return f"must be an aware datetime or epoch milliseconds, not {str(value)[:40]!r}"


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


def _given(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip() or None
    return value


def _time(value: Any) -> Any:
    """A time as text or as a whole float, as far as it is one."""
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
