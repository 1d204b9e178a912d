"""Read rows of CSV and of JSON Lines."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Generator, Mapping
from typing import Any, BinaryIO, Final, NamedTuple, TextIO, cast

import attrs

from ...api.records import CallRecord
from ...errors import VBCError
from ..output import plain

MOST_CHARACTERS: Final = 1024 * 1024
"""The longest record: longer ones are invalid, and are not kept in memory."""


class Row(NamedTuple):
    """Hold one record as it was read.

    Attributes:
        line: its first line, counted from 1.
        fields: values by column name; empty if the record cannot be read.
        fault: why it cannot be read.
    """

    line: int
    fields: Mapping[str, Any]
    fault: str = ""


class UnreadableInputError(VBCError):
    """Report that the start of the next record cannot be found, so the rest of the input is unreadable.

    Attributes:
        line: where.
        fault: description of the error.
    """

    def __init__(self, line: int, fault: str) -> None:
        super().__init__(f"line {line}: {fault}")
        self.line = line
        self.fault = fault


_FIELDS: Final = tuple(field.name for field in attrs.fields(CallRecord))
_NEEDED: Final = ("caller_number", "receiver_number", "starts_at", "ends_at")
_NOT_TEXT: Final = re.compile(r"[\x00\ud800-\udfff]")
# The only error of the csv module after which the next line starts a new record.
_RECOVERABLE: Final = "expected after"


def csv_rows(file: BinaryIO) -> Generator[Row]:
    """Yield the records below the header; skip empty lines.

    Raises:
        UnreadableInputError: the header is missing or wrong, a quote is never closed, or a record is endless.
    """
    # Undecodable bytes become lone surrogates, which the check of the record then reports.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        lines = _Lines(text)
        reader = csv.reader(lines, strict=True)
        header: tuple[str, ...] | None = None
        while True:
            line = reader.line_num + 1
            lines.taken = 0
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                if header is None or _RECOVERABLE not in str(error):
                    raise UnreadableInputError(line, _complaint(error)) from None
                yield Row(line, {}, "a quote inside a quoted cell must be doubled")
                continue
            except _EndlessRecordError:
                raise UnreadableInputError(line, f"a record of more than {MOST_CHARACTERS:,} characters") from None
            if not cells:
                continue
            if header is None:
                header = _header(line, cells)
            else:
                yield _csv_row(line, header, cells)
        if header is None:
            raise UnreadableInputError(1, f"a header is needed, with the columns {', '.join(_NEEDED)}")
    finally:
        with contextlib.suppress(ValueError):  # the file was closed first
            text.detach()


class _EndlessRecordError(Exception):
    """Report that one record spans too many lines."""


class _Lines:
    """Yield lines of bounded length. `taken` counts characters; reset it to 0 at the start of a record."""

    def __init__(self, text: TextIO) -> None:
        self.taken = 0
        self._text = text

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MOST_CHARACTERS + 1)
        if not line:
            raise StopIteration
        self.taken += len(line)
        if self.taken > MOST_CHARACTERS:
            raise _EndlessRecordError
        return line


def _header(line: int, cells: list[str]) -> tuple[str, ...]:
    if any(_NOT_TEXT.search(cell) for cell in cells):
        raise UnreadableInputError(line, "the header is not UTF-8 text: save the file as 'CSV UTF-8'")
    names = tuple(cell.strip() for cell in cells)
    faults: list[str] = []
    if unknown := [name for name in names if name not in _FIELDS]:
        shown = ", ".join(repr(plain(name, 40)) for name in unknown[:5])
        faults.append(f"the header has {shown}; the columns are {', '.join(_FIELDS)}, separated by commas")
    if doubled := {name for name in names if names.count(name) > 1}.intersection(_FIELDS):
        faults.append(f"the header has {', '.join(sorted(doubled))} more than once")
    if missing := [name for name in _NEEDED if name not in names]:
        faults.append(f"the header lacks {', '.join(missing)}")
    if faults:
        raise UnreadableInputError(line, "; ".join(faults))
    return names


def _csv_row(line: int, header: tuple[str, ...], cells: list[str]) -> Row:
    fields = dict(zip(header, cells, strict=False))
    if len(cells) != len(header):
        return Row(line, fields, f"has {len(cells)} cells, and the header has {len(header)}")
    for name, cell in fields.items():
        if _NOT_TEXT.search(cell):
            return Row(line, fields, f"{name}: has bytes that are not UTF-8 text")
    return Row(line, fields)


def _complaint(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return "a quote is opened and never closed"
    if "field limit" in text:
        return "a cell is longer than any field can be; is a quote never closed?"
    return f"is no CSV: {text}"


_BOM: Final = b"\xef\xbb\xbf"


def jsonl_rows(file: BinaryIO) -> Generator[Row]:
    """Yield the objects; skip blank lines."""
    number = 0
    while line := file.readline(MOST_CHARACTERS + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) > MOST_CHARACTERS:
            while line and not line.endswith(b"\n"):
                line = file.readline(MOST_CHARACTERS)
            yield Row(number, {}, f"a record of more than {MOST_CHARACTERS:,} bytes")
        elif line.strip():
            yield _json_row(number, line)


def _json_row(number: int, line: bytes) -> Row:
    try:
        value = json.loads(line.decode(), object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError:
        return Row(number, {}, "has bytes that are not UTF-8 text")
    except json.JSONDecodeError as error:
        return Row(number, {}, f"is no JSON: {error.msg} at character {error.pos + 1}")
    except RecursionError:
        return Row(number, {}, "is nested too deeply")
    except ValueError as error:
        return Row(number, {}, plain(error))
    if not isinstance(value, dict):
        return Row(number, {}, f"must be a JSON object, not {type(value).__name__}")
    return Row(number, cast(dict[str, Any], value))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{plain(doubled, 40)!r} is there more than once")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
