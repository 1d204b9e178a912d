"""Check a whole input before anything is sent, and show what would be sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol

import attrs

from ...api.foreign_text import plain
from ...api.records import CallRecord
from ...call_lists.columns import late
from ...call_lists.formats import Row, UnreadableInputError
from ...call_lists.source import Source
from ..output import count_of
from .list_options import RowParser, in_options

_MOST_SHOWN: Final = 20
_MOST_FIRST: Final = 3
_MOST_REASONS: Final = 100
_EVERY: Final = 1000
MOST_PAIRS: Final = 1_000_000
"""So many pairs are remembered to find duplicates, in about 200 MB; later pairs are compared with these only."""
_MOST_WINDOWS: Final = 8
_AHEAD: Final = 30
_OWN_VALUE: Final = re.compile(r"(?<=: )(?:\"[^\"]*\"|'[^']*')|(?<=write )'[^']*'")
_OTHERS: Final = "other problems"

Counted = tuple[int, tuple[int, ...]]
"""How often something was seen, and the first lines of it."""


@attrs.frozen
class InvalidRow:
    """Describe what is wrong with a row.

    Args:
        line: its number.
        fault: in words.
    """

    line: int
    fault: str


@attrs.define
class Checked:
    """Summarise an input.

    Args:
        records: in it.
        invalid: of these.
        unreadable: whether it could not be read to its end.
        reasons: count and first lines by problem, without the values of the cells; the most frequent first.
        problems: the first of them, in full; also where it could not be read.
        warnings: count and first lines by what is doubtful, and is sent nevertheless.
        duplicates: count and first lines of records whose pair has another one with an overlapping window; None
            if they were not looked for.
        first: the first valid records (except for labels, which have not been looked up), and the label as given.
        labels_used: count and first line by label as given.
        zone: time zone in which to show times.
    """

    records: int = 0
    invalid: int = 0
    unreadable: bool = False
    reasons: dict[str, Counted] = attrs.field(factory=dict[str, Counted])
    problems: list[InvalidRow] = attrs.field(factory=list[InvalidRow])
    warnings: dict[str, Counted] = attrs.field(factory=dict[str, Counted])
    duplicates: Counted | None = None
    first: list[tuple[CallRecord, str]] = attrs.field(factory=list[tuple[CallRecord, str]])
    labels_used: Mapping[str, tuple[int, int]] = attrs.field(factory=dict[str, tuple[int, int]])
    zone: tzinfo = UTC
    # Hashes of pairs instead of the numbers themselves, which take three times the memory.
    _pairs: dict[int, tuple[tuple[int, int], ...]] = attrs.field(factory=dict[int, tuple[tuple[int, int], ...]])

    def add_problem(self, row: Row, fault: str) -> None:
        """Count an invalid row."""
        self.invalid += 1
        if len(self.problems) < _MOST_SHOWN:
            self.problems.append(InvalidRow(row.line, fault))
        for reason in dict.fromkeys(without_values(fault).split("; ")):
            known = reason in self.reasons or len(self.reasons) < _MOST_REASONS
            _count(self.reasons, reason if known else _OTHERS, row.line)

    def add(self, row: Row, record: CallRecord, label: str | None, now: float) -> None:
        """Count a valid row."""
        if len(self.first) < _MOST_FIRST:
            self.first.append((record, label or ""))
        if record.starts_at < now * 1000:
            _count(self.warnings, "the window has begun already", row.line)
        elif record.starts_at > (now + _AHEAD * 86_400) * 1000:
            _count(self.warnings, f"the window is more than {_AHEAD} days ahead", row.line)
        if record.caller_number == record.receiver_number:
            _count(self.warnings, "the caller and the receiver are the same number", row.line)
        if self.duplicates is not None:
            pair = hash((record.caller_number, record.receiver_number))
            windows = self._pairs.get(pair, ())
            if any(record.starts_at < ends and starts < record.ends_at for starts, ends in windows):
                self.duplicates = _plus_one(self.duplicates, row.line)
            elif (windows or len(self._pairs) < MOST_PAIRS) and len(windows) < _MOST_WINDOWS:
                self._pairs[pair] = (*windows, (record.starts_at, record.ends_at))


class Progress(Protocol):
    """Show how far the check is, such as a `Bar`."""

    def at(self, done: int) -> None:
        """Set how many records are done."""


def check(source: Source, parser: RowParser, now: float, bar: Progress, *, duplicates: bool = False) -> Checked:
    """Check every record at `now` (seconds since 1970); look for duplicates if asked."""
    found = Checked(labels_used=parser.labels_used, duplicates=(0, ()) if duplicates else None)
    try:
        _check_header(source, parser)
        for row in source.rows():
            found.records += 1
            record = parser.record(row)
            if isinstance(record, str) or (fault := late(record, now)):
                found.add_problem(row, record if isinstance(record, str) else fault)
            else:
                found.add(row, record, parser.label, now)
            if found.records % _EVERY == 0:
                bar.at(found.records)
    except UnreadableInputError as error:
        found.unreadable = True
        found.problems.append(InvalidRow(error.line, in_options(error.fault)))
    found.reasons = dict(sorted(found.reasons.items(), key=lambda item: -item[1][0]))
    found.zone = parser.times.zone or parser.times.seen or UTC
    return found


def _check_header(source: Source, parser: RowParser) -> None:
    """Check it once for all rows; JSON has none, so each of its objects is checked."""
    line, columns = source.header()
    if line and (fault := parser.columns_fault(columns)):
        raise UnreadableInputError(line, fault)


def without_values(fault: str) -> str:
    """Return a problem without the values of its cells, so that it is counted with others of its kind."""
    return _OWN_VALUE.sub("…", fault)


def _plus_one(counted: Counted, line: int) -> Counted:
    count, lines = counted
    return count + 1, (*lines, line) if len(lines) < _MOST_FIRST else lines


def _count(into: dict[str, Counted], reason: str, line: int) -> None:
    into[reason] = _plus_one(into.get(reason, (0, ())), line)


def preview(
    checked: Checked,
    *,
    unit: str = "line",
    batch: int = 500,
    rate: float = 60,
    labels: Mapping[str, str] | None = None,
) -> list[str]:
    """Return lines that show people what would be sent, and what is wrong.

    Args:
        checked: what was found.
        unit: what the number of a row counts; see `Source.unit`.
        batch: most records in a batch.
        rate: batches a minute.
        labels: names of labels by ID, to show them.
    """
    valid = checked.records - checked.invalid
    lines = [f"{count_of(checked.records, 'record')}: {valid:,} valid, {checked.invalid:,} invalid"]
    if checked.first:
        lines.append("the first of them, as they will be sent:")
        lines += [f"  {_in_words(*first, checked.zone, labels or {})}" for first in checked.first]
    if valid:
        batches = -(-valid // batch)
        lines.append(f"{count_of(batches, 'batch', 'batches')}, {_minutes(batches, rate)} at {rate:g} a minute")
    if checked.duplicates is not None and checked.duplicates[0]:
        lines.append(f"warning: the same pair and an overlapping window as before: {where(checked.duplicates, unit)}")
    lines += [f"warning: {what}: {where(counted, unit)}" for what, counted in checked.warnings.items()]
    lines += [f"{reason}: {where(counted, unit)}" for reason, counted in checked.reasons.items()]
    if checked.unreadable:
        last = checked.problems[-1]
        lines.append(f"{unit} {last.line}: {last.fault}")
    return lines


def _in_words(record: CallRecord, given: str, zone: tzinfo, labels: Mapping[str, str]) -> str:
    starts = datetime.fromtimestamp(record.starts_at / 1000, zone)
    ends = datetime.fromtimestamp(record.ends_at / 1000, zone)
    until = f"{ends:%H:%M}" if ends.date() == starts.date() else f"{ends:%a %d %b %H:%M}"
    texts = [f"{record.caller_number} calls {record.receiver_number}, {starts:%a %d %b %Y %H:%M} to {until} ({zone})"]
    label = labels.get(given, given)
    texts.append(f'label "{plain(label, 40)}"' if label else "without a label")
    if record.dynamic_label_name is not None:
        texts.append(f'shown as "{plain(record.dynamic_label_name)}"')
    if record.dynamic_call_reason is not None:
        texts.append(f'reason "{plain(record.dynamic_call_reason)}"')
    return ", ".join(texts)


def where(counted: Counted, unit: str) -> str:
    """Return how many records, and the first of them."""
    count, lines = counted
    numbers = ", ".join(map(str, lines)) + (", …" if count > len(lines) else "")
    named = f", {unit}{'' if count == 1 else 's'} {numbers}" if lines else ""
    return f"{count_of(count, 'record')}{named}"


def _minutes(batches: int, rate: float) -> str:
    # The first minute's batches leave at once.
    minutes = int((batches - 1) // rate)
    return f"about {count_of(minutes, 'minute')}" if minutes else "a few seconds"


def template(now: float, zone: tzinfo) -> str:
    """Return a CSV file to start from, with two records for tomorrow."""
    day = datetime.fromtimestamp(now, zone) + timedelta(days=1)
    starts = day.replace(hour=10, minute=0, second=0, microsecond=0)
    window = f"{starts.isoformat()},{starts.replace(hour=18).isoformat()}"
    return (
        "caller_number,receiver_number,starts_at,ends_at,label_id,dynamic_call_reason\n"
        f"+911234567890,+919812300001,{window},NAME OR ID OF A LABEL,Delivery of your parcel\n"
        f"+911234567890,+919812300002,{window},NAME OR ID OF A LABEL,Delivery of your parcel\n"
    )
