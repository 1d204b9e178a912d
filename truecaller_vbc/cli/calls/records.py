"""Turn rows into call records and collect their problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from ...api.records import CallRecord
from ...errors import InvalidRecordError, Problem
from ..output import plain
from .formats import Row, UnreadableInputError
from .progress import Bar
from .reading import Source


class RowParser:
    """Build call records from rows, filling in a missing label.

    Args:
        label_id: label for records without one.
        no_label: records without a label are deliberate.
    """

    def __init__(self, *, label_id: str | None = None, no_label: bool = False) -> None:
        self._fills = no_label or label_id is not None
        self._label_id = label_id

    def record(self, row: Row) -> CallRecord | str:
        """Return the record, or all of its problems in one line, except that its window has closed."""
        if row.fault:
            return row.fault
        fields = row.fields
        if self._fills:
            given = fields.get("label_id", "")
            if isinstance(given, str) and not given.strip():
                fields = {**fields, "label_id": self._label_id}
        try:
            return CallRecord.from_mapping(fields)
        except InvalidRecordError as error:
            return describe_problems(error.problems)
        except RecursionError:
            return "is nested too deeply"

    def fault(self, row: Row, now: float) -> str:
        """Return the record's problem at `now` (seconds since 1970), or ""."""
        record = self.record(row)
        if isinstance(record, str):
            return record
        late = record.late(now)
        return "" if late is None else describe_problems([late])


def describe_problems(problems: Sequence[Problem]) -> str:
    """Join the problems of one record into one line."""
    return plain("; ".join(f"{it.field}: {it.text}" if it.field else it.text for it in problems))


def receiver(row: Row) -> str:
    """Return the receiver's number as written in the row, to identify it."""
    number = row.fields.get("receiver_number")
    return plain(number, 40) if isinstance(number, str) else ""


_MOST_SHOWN: Final = 20
_EVERY: Final = 1000


@attrs.frozen
class InvalidRow:
    """Describe what is wrong with a row.

    Args:
        line: its first.
        fault: in words.
    """

    line: int
    fault: str


@attrs.frozen
class Checked:
    """Summarise an input.

    Args:
        records: in it.
        invalid: of these.
        problems: the first of them.
        unreadable: whether it could not be read to its end.
    """

    records: int
    invalid: int
    problems: tuple[InvalidRow, ...]
    unreadable: bool


def check(source: Source, parser: RowParser, now: float, bar: Bar) -> Checked:
    """Check every record at `now` (seconds since 1970)."""
    records = invalid = 0
    shown: list[InvalidRow] = []
    unreadable = False
    try:
        for row in source.rows():
            records += 1
            if fault := parser.fault(row, now):
                invalid += 1
                if len(shown) < _MOST_SHOWN:
                    shown.append(InvalidRow(row.line, fault))
            if records % _EVERY == 0:
                bar.at(records)
    except UnreadableInputError as error:
        unreadable = True
        shown.append(InvalidRow(error.line, error.fault))
    return Checked(records, invalid, tuple(shown), unreadable)
