"""Decide which column is which field, fill in constants, and turn rows into call records."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from ..api.foreign_text import plain
from ..api.models import Label
from ..api.records import CallRecord
from ..errors import ConfigurationError, InvalidRecordError
from .cleaning import Fault, NumberCleaner, TimeParser, quoted, resolve_window, text_of
from .formats import FIELDS, Row, folded

RESERVED: Final = ("push_line", "push_outcome", "push_reason", "push_batch_id")
"""Columns of exports, which are left out when these are pushed again."""
_OPTIONS: Final = {
    "caller_number": "caller=",
    "receiver_number": "columns={receiver_number: COLUMN} for another column",
    "starts_at": "starts_at=, or date= and window=",
    "ends_at": "ends_at=, or date= and window=",
    "label_id": "label=NAME-OR-ID, or no_label=True to send without",
    "dynamic_label_name": "label_name=",
    "dynamic_call_reason": "reason=",
}
_NEEDED: Final = FIELDS[: FIELDS.index("label_id") + 1]
_BY_FOLDED: Final = {folded(name): name for name in FIELDS}
_FOLDED_RESERVED: Final = frozenset(folded(name) for name in RESERVED)
_HOUR: Final = 60 * 60 * 1000
_ANY_NUMBER: Final = "+911234567890"
_ANY_ID: Final = "name"
_ID: Final = re.compile(r"[\x21-\x7e]{1,100}")
_NUMBER_OF_COLUMN: Final = re.compile(r" \(\d+\)$")


@attrs.frozen(kw_only=True)
class RecordRules:
    """Hold all that decides what is sent for a row. A cell that is not blank wins over the constant for its field.

    Args:
        columns: column of the input by field, where their names differ; "" for a field whose column is left out.
        ignore_extra: columns that are no fields are left out.
        country: whose numbers are completed, such as IN.
        timezone: name of the zone of times without one.
        date_format: how dates are written, as for strptime.
        caller: caller_number of rows without one.
        label: name or ID of the label of rows without one.
        no_label: rows without a label are deliberate.
        label_name: dynamic_label_name of rows without one.
        reason: dynamic_call_reason of rows without one.
        starts_at: of rows without one, as text or epoch milliseconds.
        ends_at: the same.
        date: today, tomorrow or an ISO date, with `window`; instead of `starts_at` and `ends_at`.
        window: two times of day, such as 10:00-18:00.
        now: seconds since 1970, to resolve `date`.

    Raises:
        ConfigurationError: an option is wrong, or two contradict each other.
    """

    columns: Mapping[str, str] = attrs.field(factory=dict[str, str])
    ignore_extra: bool = False
    country: str | None = None
    timezone: str | None = None
    date_format: str | None = None
    caller: str | None = None
    label: str | None = None
    no_label: bool = False
    label_name: str | None = None
    reason: str | None = None
    starts_at: str | int | None = None
    ends_at: str | int | None = None
    date: str | None = None
    window: str | None = None
    now: float = attrs.field(factory=time.time, eq=False)
    constants: dict[str, Any] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if unknown := [name for name in self.columns if name not in FIELDS]:
            raise ConfigurationError(
                f"columns={quoted(unknown[0])} is not a field: write {{FIELD: COLUMN}}, fields are {', '.join(FIELDS)}"
            )
        if self.no_label and self.label is not None:
            raise ConfigurationError("label= and no_label=True contradict each other: give one of them")
        if (self.date is None) != (self.window is None):
            raise ConfigurationError("date= and window= belong together: give both, or starts_at= and ends_at=")
        if self.date is not None and (self.starts_at is not None or self.ends_at is not None):
            raise ConfigurationError("date= and window= contradict starts_at= and ends_at=: give two of them")
        object.__setattr__(self, "constants", self._resolved())

    def facts(self) -> dict[str, Any]:
        """Return what is given, with the dates resolved, for JSON: ``RecordRules(**facts)`` gives the same records."""
        given = attrs.asdict(self, filter=lambda field, _: field.name not in _NOT_FACTS) | {
            name: self.constants[name] for name in ("starts_at", "ends_at")
        }
        return {name: value for name, value in given.items() if value not in (None, False, {})}

    def _resolved(self) -> dict[str, Any]:
        """Return the constants by field as they are sent; a label still needs to be looked up."""
        times, numbers = TimeParser(self.timezone, self.date_format), NumberCleaner(self.country)
        starts_at: Any = times.parse(self.starts_at)
        ends_at: Any = times.parse(self.ends_at)
        if self.date is not None and self.window is not None:
            if times.zone is None:
                raise ConfigurationError("date= and window= need timezone=, such as Asia/Kolkata")
            starts_at, ends_at = resolve_window(self.date, self.window, times.zone, self.now)
        found = {
            "caller_number": numbers.clean(self.caller),
            "receiver_number": None,
            "starts_at": starts_at,
            "ends_at": ends_at,
            "label_id": text_of(self.label),
            "dynamic_label_name": text_of(self.label_name),
            "dynamic_call_reason": text_of(self.reason),
        }
        _check_constants(found, self.now)
        return found


_NOT_FACTS: Final = ("date", "window", "now", "constants")


def _check_constants(constants: dict[str, Any], now: float) -> None:
    """Check them in a record whose other fields are right."""
    opens, closes = constants["starts_at"], constants["ends_at"]
    if opens is None:
        opens = closes - _HOUR if type(closes) is int else int(now * 1000)
    if closes is None:
        closes = opens + _HOUR if type(opens) is int else int(now * 1000)
    right = {"receiver_number": _ANY_NUMBER, "label_id": None, "starts_at": opens, "ends_at": closes}
    record = build(constants | right | {"caller_number": constants["caller_number"] or _ANY_NUMBER})
    if isinstance(record, str):
        for field, option in _OPTIONS.items():
            record = record.replace(f"{field}: ", f"{field if field == 'ends_at' else option.partition(',')[0]}: ")
        raise ConfigurationError(record)


def label_ids(labels: Iterable[Label]) -> dict[str, str]:
    """Return the IDs of labels by folded name and by ID."""
    known = list(labels)
    return {it.name.casefold(): it.id for it in known} | {it.id: it.id for it in known}


class RowParser:
    """Build call records from rows.

    Args:
        rules: what is sent for a row.
        labels: IDs of labels, from `label_ids`; None if they have not been looked up, so that any text passes.

    Attributes:
        times: parser of the times.
        label: the label of the last row as given, by name or ID; None for none.
        labels_used: how often each label is given, and on which line first; filled while `labels` is None.
    """

    def __init__(self, rules: RecordRules, labels: Mapping[str, str] | None = None) -> None:
        self.times: TimeParser = TimeParser(rules.timezone, rules.date_format)
        self.label: str | None = None
        self.labels_used: dict[str, tuple[int, int]] = {}
        self._rules = rules
        self._labels = labels
        numbers = NumberCleaner(rules.country)
        parse = self.times.parse
        # The same few callers and times are in every row.
        self._cleaners: tuple[Callable[[Any], Any], ...] = (
            functools.lru_cache(_REMEMBERED, typed=True)(numbers.clean),
            numbers.clean,
            *(functools.lru_cache(_REMEMBERED, typed=True)(parse) for _ in ("starts_at", "ends_at")),
            *(text_of,) * 3,
        )
        self._names: tuple[str, ...] | None = None
        self._plan: Sequence[tuple[str | None, Callable[[Any], Any], Any]] = ()
        self._fault = ""

    def record(self, row: Row) -> CallRecord | str:
        """Return the record, or all of its problems in one line, except that its window has closed."""
        if row.fault:
            return row.fault
        cells = row.cells
        if (names := tuple(cells)) != self._names:
            self._match(names)
        if self._fault:
            return self._fault
        try:
            values = [
                constant if place is None or (value := clean(cells[place])) is None else value
                for place, clean, constant in self._plan
            ]
        except TypeError:
            return "has a list or an object in place of a value"
        place = self._plan[_LABEL][0]
        # A null in JSON says that there is deliberately no label.
        values[_LABEL] = None if place is not None and cells[place] is None else self._label(values[_LABEL], row.line)
        return build(dict(zip(FIELDS, values, strict=True)))

    def columns_fault(self, columns: tuple[str, ...]) -> str:
        """Return what is wrong with the columns, or ""."""
        self._match(columns)
        return self._fault

    def fault(self, row: Row, now: float) -> str:
        """Return the record's problem at `now` (seconds since 1970), or ""."""
        record = self.record(row)
        return record if isinstance(record, str) else late(record, now)

    def _match(self, names: tuple[str, ...]) -> None:
        places = match_columns(self._rules, names)
        self._names, self._fault = names, places if isinstance(places, str) else ""
        if not isinstance(places, str):
            constants = (self._rules.constants[name] for name in FIELDS)
            self._plan = tuple(zip(places, self._cleaners, constants, strict=True))

    def _label(self, given: Any, line: int) -> str | None:
        self.label = given
        if given is None:
            return None if self._rules.no_label else Fault("is missing: give " + _OPTIONS["label_id"])
        if not isinstance(given, str):
            return Fault("must be the name or the ID of a label")
        if self._labels is None:
            count, first = self.labels_used.get(given, (0, line))
            if count or len(self.labels_used) < _REMEMBERED:
                self.labels_used[given] = (count + 1, first)
            return given if _ID.fullmatch(given) else _ANY_ID
        found = self._labels.get(given) or self._labels.get(given.casefold())
        return found or Fault(f"{quoted(given)} is no label of this account: see labels.list()")


_LABEL: Final = FIELDS.index("label_id")
_REMEMBERED: Final = 1024


def late(record: CallRecord, now: float) -> str:
    """Return the problem if the record's window has closed at `now`, or ""."""
    problem = record.late(now)
    return "" if problem is None else f"{problem.field}: {problem.text}"


def build(values: Mapping[str, Any]) -> CallRecord | str:
    """Return the record, or its problems in one line; a `Fault` in place of a value says its own."""
    try:
        return CallRecord(**values)
    except InvalidRecordError as error:
        lines: dict[str, None] = {}
        for problem in error.problems:
            value = values.get(problem.field, "")
            if isinstance(value, Fault):
                text: str = value
            elif value is None:
                text = f"is missing: fill it in, or give {_OPTIONS[problem.field]}"
            else:
                text = problem.text
            lines[f"{problem.field}: {text}" if problem.field else text] = None
        return plain("; ".join(lines), _MOST_DESCRIBED)


_MOST_DESCRIBED: Final = 1000


def match_columns(rules: RecordRules, columns: Sequence[str]) -> tuple[str | None, ...] | str:
    """Return the column of each of `FIELDS`, None for those without one; or what is wrong with the columns."""
    found: dict[str, list[str]] = {name: [] for name in FIELDS}
    faults: list[str] = []
    for field, wanted in rules.columns.items():
        same = [it for it in columns if it == wanted] or [it for it in columns if folded(it) == folded(wanted)]
        if wanted and len(same) != 1:
            faults.append(f"columns={{{field}: {plain(wanted, 40)}}}: choose one of the columns {_listed(columns)}")
        found[field] = same[:1]
    taken = {name for names in found.values() for name in names}
    extra: list[str] = []
    for name in columns:
        field = _BY_FOLDED.get(folded(_NUMBER_OF_COLUMN.sub("", name)), "")
        if name in taken or folded(name) in _FOLDED_RESERVED:
            continue
        (found[field] if field and field not in rules.columns else extra).append(name)
    if not any(found.values()) and columns:
        return (
            f"there is no column of a call record ({_listed(columns)}): line 1 must be the header, delete what stands "
            "above it; or name its columns: columns={receiver_number: COLUMN} ignore_extra=True"
        )
    faults += [
        f"{field} is there {len(names)} times ({_listed(names)}): delete all but one, or choose one with "
        f"columns={{{field}: COLUMN}} ignore_extra=True"
        for field, names in found.items()
        if len(names) > 1
    ]
    if extra and not rules.ignore_extra:
        faults.append(
            f"{_listed(extra)}: not a column of a call record ({', '.join(FIELDS)}): leave it out with "
            "ignore_extra=True, or say what it is with columns={FIELD: COLUMN}"
        )
    given = rules.constants | {"label_id": rules.no_label or rules.label}
    if missing := [f"{it} ({_OPTIONS[it]})" for it in _NEEDED if not found[it] and not given[it]]:
        faults.append(f"a column is missing: {', '.join(missing)}")
    return "; ".join(faults) or tuple(names[0] if names else None for names in found.values())


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(quoted(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
