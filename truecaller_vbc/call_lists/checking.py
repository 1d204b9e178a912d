"""Check a whole list: what is wrong with its rows, and what is doubtful."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import Final, Protocol

import attrs

from ..api.records import CallRecord
from .columns import RowParser, late
from .formats import Row, UnreadableInputError
from .source import Source

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
    """Show how far the check is."""

    def at(self, done: int) -> None:
        """Set how many records are done."""


def check(
    source: Source,
    parser: RowParser,
    now: float | None = None,
    bar: Progress | None = None,
    *,
    duplicates: bool = False,
) -> Checked:
    """Check every record of a list.

    Args:
        source: the list.
        parser: builds records from its rows.
        now: seconds since 1970, to find windows that have closed.
        bar: is told how far the check is.
        duplicates: whether to look for records of one pair with overlapping windows.
    """
    now = time.time() if now is None else now
    found = Checked(labels_used=parser.labels_used, duplicates=(0, ()) if duplicates else None)
    try:
        _check_header(source, parser)
        for row in source.rows():
            found.records += 1
            record = parser.record(row)
            if isinstance(record, str):
                found.add_problem(row, record)
            elif fault := late(record, now):
                found.add_problem(row, fault)
            else:
                found.add(row, record, parser.label, now)
            if bar is not None and found.records % _EVERY == 0:
                bar.at(found.records)
    except UnreadableInputError as error:
        found.unreadable = True
        found.problems.append(InvalidRow(error.line, error.fault))
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
