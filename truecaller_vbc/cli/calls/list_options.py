"""Define the options that say how a list is read, and name them in its problems."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Mapping, Sequence
from typing import Final

import attrs

from ... import call_lists
from ...api.records import CallRecord
from ...call_lists import Format, Row
from ...errors import ConfigurationError
from ..options import flag, option

_INPUT: Final = "What the list has"
_RECORDS: Final = "What the records have where the list has nothing"
_NAMES: Final = (
    "caller country date date_format delimiter ends_at format ignore_extra label label_name no_label reason "
    "starts_at timezone window"
)
_ARGUMENT: Final = re.compile(rf"(?<!--column )\b({_NAMES.replace(' ', '|')})=(True\b)?(?=([^\s,:;)]?))")
_COLUMN: Final = re.compile(r"\{(\w+): ([^}]*)\}")
_EMPTY: Final = "it is empty: line 1 must be the header"
_WORDS: Final = {
    _EMPTY: f"{_EMPTY} (`truecaller-vbc calls template` has one)",
    "see labels.list()": "see `truecaller-vbc labels list`",
}


def in_options(text: str) -> str:
    """Return a problem of a list with the options of the command line in place of the arguments of the library."""
    for words, others in _WORDS.items():
        text = text.replace(words, others)
    text = _COLUMN.sub(r"\1=\2", text.replace("columns=", "--column "))
    return _ARGUMENT.sub(
        lambda found: f"--{found[1].replace('_', '-')}{' ' if found[3] and not found[2] else ''}", text
    )


@contextlib.contextmanager
def _named() -> Generator[None]:
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(in_options(str(error))) from None


def _pairs(given: Mapping[str, str] | Sequence[str] | None) -> Mapping[str, str]:
    """Return what ``--column`` was given as a mapping."""
    if isinstance(given, Mapping):
        return given
    pairs = [text.partition("=") for text in given or ()]
    if wrong := [field for field, separator, _ in pairs if not separator]:
        raise ConfigurationError(f"--column {wrong[0]}: write FIELD=COLUMN, such as receiver_number=Mobile")
    return {field.strip(): name.strip() for field, _, name in pairs}


@attrs.frozen(kw_only=True)
class RecordRules(call_lists.RecordRules):
    """Hold what decides what is sent for a row."""

    columns: Mapping[str, str] = option(
        "Where the list has another name.",
        _INPUT,
        kind=list[str] | None,
        name="--column",
        converter=_pairs,
        metavar="FIELD=COLUMN",
    )
    ignore_extra: bool = flag("Leave out other columns.", _INPUT)
    country: str | None = option("Complete numbers of this country, such as IN.", _INPUT)
    timezone: str | None = option("Of times without one, such as Asia/Kolkata.", _INPUT)
    date_format: str | None = option("Such as '%d-%m-%Y %H:%M'.", _INPUT)
    caller: str | None = option("caller_number.", _RECORDS)
    label: str | None = option("Name or ID of a label.", _RECORDS)
    no_label: bool = flag("No label.", _RECORDS)
    label_name: str | None = option("dynamic_label_name.", _RECORDS)
    reason: str | None = option("dynamic_call_reason.", _RECORDS)
    starts_at: str | int | None = option("When the window opens.", _RECORDS, kind=str | None)
    ends_at: str | int | None = option("When it closes.", _RECORDS, kind=str | None)
    date: str | None = option("today, tomorrow or 2026-11-27.", _RECORDS)
    window: str | None = option("Such as 10:00-18:00.", _RECORDS)

    def __attrs_post_init__(self) -> None:
        with _named():
            super().__attrs_post_init__()


@attrs.frozen(kw_only=True)
class SourceOptions(call_lists.SourceOptions):
    """Say how to read the list, where that is not seen in it."""

    format: Format | None = option("Else it is seen in the list.", _INPUT)
    delimiter: str | None = option("Of CSV; else it is seen in the header.", _INPUT)

    def __attrs_post_init__(self) -> None:
        with _named():
            super().__attrs_post_init__()


class RowParser(call_lists.RowParser):
    """Build call records from rows, and name the options that mend them."""

    def record(self, row: Row) -> CallRecord | str:
        """Return the record, or all of its problems in one line."""
        record = super().record(row)
        return in_options(record) if isinstance(record, str) else record

    def columns_fault(self, columns: tuple[str, ...]) -> str:
        """Return what is wrong with the columns, or ""."""
        return in_options(super().columns_fault(columns))
