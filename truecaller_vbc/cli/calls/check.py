"""Reading the whole input once before anything is sent, in memory that does not grow with it."""

from __future__ import annotations

from typing import Final

import attrs

from .judge import Judge
from .progress import Bar
from .rows import UnreadableInputError
from .source import Source

_MOST_SHOWN: Final = 20
_EVERY: Final = 1000


@attrs.frozen
class Problem:
    """What is wrong with a record.

    Args:
        line: its first.
        fault: in words.
    """

    line: int
    fault: str


@attrs.frozen
class Checked:
    """What an input is like.

    Args:
        records: in it.
        invalid: of these.
        problems: the first of them.
        unreadable: whether it could not be read to its end.
    """

    records: int
    invalid: int
    problems: tuple[Problem, ...]
    unreadable: bool


def check(source: Source, judge: Judge, now: float, bar: Bar) -> Checked:
    """Judge every record at `now` (seconds since 1970)."""
    records = invalid = 0
    shown: list[Problem] = []
    unreadable = False
    try:
        for row in source.rows():
            records += 1
            if fault := judge.fault(row, now):
                invalid += 1
                if len(shown) < _MOST_SHOWN:
                    shown.append(Problem(row.line, fault))
            if records % _EVERY == 0:
                bar.at(records)
    except UnreadableInputError as error:
        unreadable = True
        shown.append(Problem(error.line, error.fault))
    return Checked(records, invalid, tuple(shown), unreadable)
