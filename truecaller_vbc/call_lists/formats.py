"""Read rows of CSV, JSON Lines, JSON and Excel sheets, in the shapes that spreadsheets and CRMs write."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, NamedTuple, TextIO, cast

import attrs

from ..api.foreign_text import plain
from ..api.records import CallRecord
from ..errors import ConfigurationError, VBCError

FIELDS: Final = tuple(field.name for field in attrs.fields(CallRecord))
DELIMITERS: Final = ",;\t|"
MOST_CHARACTERS: Final = 1024 * 1024
"""The longest record: longer ones are invalid, and are not kept in memory."""
MOST_JSON: Final = 256 * 1024 * 1024
"""The longest JSON document, since it is read as a whole; JSON Lines and CSV have no bound."""


class Row(NamedTuple):
    """Hold one record as it was read.

    Attributes:
        line: its first line in CSV and JSON Lines, its number in a JSON array, its row in a sheet; counted from 1.
        cells: values by column name, in the order of the input; may be empty if the record cannot be read.
        fault: why it cannot be read.
    """

    line: int
    cells: Mapping[str, Any]
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


_MARKS: Final = re.compile(r"[\s_\-\u200b-\u200f\u202a-\u202e\u2060\ufeff]+")
_SPARE: Final = " \t\r\n\0\x1a\ufeff\xa0\u200b"
_LOST: Final = re.compile(r"[\0\x1a\ud800-\udfff\ufffd]")
_NOT_TEXT: Final = "has characters that are not UTF-8: save the file as 'CSV UTF-8' in the spreadsheet"
# The only error of the csv module after which the next line starts a new record.
_RECOVERABLE: Final = "expected after"


def folded(name: str) -> str:
    """Return a column name without case, spaces, hyphens, underscores and invisible marks, to compare it."""
    return _MARKS.sub("", name).casefold()


_FOLDED_FIELDS: Final = frozenset(folded(name) for name in FIELDS)


class CSVReader:
    """Read CSV. Skip blank lines, and rows of blank cells.

    Args:
        text: opened with ``newline=""`` and ``errors="surrogateescape"``.
        delimiter: between cells; by default the one that suits the header best.

    Raises:
        UnreadableInputError: the header is missing or cannot be read.
    """

    def __init__(self, text: TextIO, delimiter: str | None = None) -> None:
        self._lines = _Lines(text)
        first = self._first_line()
        if (hint := first.strip('"\r\n')).casefold().startswith("sep=") and len(hint.rstrip(hint[4:5])) == len("sep="):
            delimiter = delimiter or hint[4:5]
            first = self._first_line()
        self.header_line: int = self._lines.number
        self._reader = csv.reader(
            itertools.chain([first], self._lines),
            strict=True,
            skipinitialspace=True,
            delimiter=delimiter or _delimiter(first),
        )
        try:
            self.columns: tuple[str, ...] = column_names(next(self._reader))
        except csv.Error as error:
            raise UnreadableInputError(self.header_line, _complaint(error)) from None
        if any(_LOST.search(name) for name in self.columns):
            raise UnreadableInputError(self.header_line, f"the header {_NOT_TEXT}")

    def _first_line(self) -> str:
        for line in self._lines:
            text = line.lstrip("\ufeff")
            if text.strip(_SPARE + DELIMITERS + '"'):
                return text
        raise UnreadableInputError(1, "it is empty: line 1 must be the header")

    def rows(self) -> Generator[Row]:
        """Yield the records below the header.

        Raises:
            UnreadableInputError: a quote is never closed, or a record is endless.
        """
        reader, lines, names = self._reader, self._lines, self.columns
        width = len(names)
        before = self.header_line - 1
        while True:
            line = before + reader.line_num + 1
            lines.taken, lines.first = 0, line
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if _RECOVERABLE not in str(error):
                    raise UnreadableInputError(line, _complaint(error)) from None
                yield Row(line, {}, "a quote inside a quoted cell must be doubled")
                continue
            if not cells:
                continue
            text = "".join(cells)
            if not text.isascii() or "\0" in text or "\x1a" in text:
                cells = [cell.strip("\0\x1a") for cell in cells]
                text = "".join(cells)
            if not text.strip(_SPARE):
                continue
            if len(cells) > width and not "".join(cells[width:]).strip(_SPARE):
                del cells[width:]
            yield Row(line, dict(zip(names, cells, strict=False)), _fault(names, cells, text))


def _fault(names: tuple[str, ...], cells: list[str], text: str) -> str:
    if len(cells) != len(names):
        return f"has {len(cells)} cells, and the header has {len(names)}"
    if (not text.isascii() and _LOST.search(text)) or "\0" in text or "\x1a" in text:
        return next(f"{name}: {_NOT_TEXT}" for name, cell in zip(names, cells, strict=True) if _LOST.search(cell))
    return ""


class _Lines:
    """Yield lines of bounded length. Set `taken` to 0 and `first` to its line where a record begins."""

    def __init__(self, text: TextIO) -> None:
        self.taken = self.number = 0
        self.first = 1
        self._readline = text.readline

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._readline(MOST_CHARACTERS + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.taken += len(line)
        if self.taken > MOST_CHARACTERS:
            raise UnreadableInputError(self.first, f"a record of more than {MOST_CHARACTERS:,} characters")
        return line


def _delimiter(header: str) -> str:
    """Return the delimiter that gives the most names of fields, then the most columns."""

    def merits(delimiter: str) -> tuple[int, int]:
        try:
            cells = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True))
        except csv.Error:
            return 0, 0
        return len(_FOLDED_FIELDS.intersection(map(folded, cells))), len(cells)

    return max(DELIMITERS, key=merits)


def column_names(cells: Iterable[object]) -> tuple[str, ...]:
    """Return the names in a header, without spare columns at its end, and each of them once."""
    names = [str(cell).strip(_SPARE) for cell in cells]
    while names and not names[-1]:
        names.pop()
    found: dict[str, None] = {}
    for place, written in enumerate(names, start=1):
        name = written or f"column {place}"
        numbered = (f"{name} ({number})" for number in itertools.count(2))
        found[next(it for it in itertools.chain([name], numbered) if it not in found)] = None
    return tuple(found)


def _complaint(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return "a quote is opened and never closed"
    if "field limit" in text:
        return "a cell is longer than any field can be: is a quote never closed?"
    return f"cannot be read as CSV: {text}"


class JSONLinesReader:
    """Read one JSON object from each line; skip blank lines."""

    header_line = 0

    def __init__(self, text: TextIO) -> None:
        self._text = text

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names in the first objects, for which it reads them."""
        return _names(self.rows())

    def rows(self) -> Generator[Row]:
        """Yield the objects."""
        number = 0
        while line := self._text.readline(MOST_CHARACTERS + 1):
            number += 1
            if len(line) > MOST_CHARACTERS:
                while line and line[-1] not in "\r\n":
                    line = self._text.readline(MOST_CHARACTERS)
                yield Row(number, {}, f"a record of more than {MOST_CHARACTERS:,} characters")
            elif line.strip(_SPARE):
                yield _json_row(number, line.strip(_SPARE))


def _json_row(number: int, line: str) -> Row:
    if not line.isascii() and _LOST.search(line):
        return Row(number, {}, "has characters that are not UTF-8: export it as UTF-8")
    try:
        value = parse_json(line)
    except json.JSONDecodeError as error:
        return Row(number, {}, f"cannot be read as JSON ({error.msg} at character {error.pos + 1})")
    except ValueError as error:
        return Row(number, {}, plain(error))
    return _object_row(number, value)


def _object_row(number: int, value: object) -> Row:
    if not isinstance(value, dict):
        return Row(number, {}, f"must be a JSON object, not {type(value).__name__}")
    return Row(number, cast(dict[str, Any], value))


class JSONReader:
    """Read a JSON array of objects, or the API's own ``{"call_records": [...]}``, as a whole.

    Raises:
        UnreadableInputError: it is neither, or too long.
    """

    header_line = 0

    def __init__(self, text: TextIO) -> None:
        whole = text.read(MOST_JSON + 1)
        if len(whole) > MOST_JSON:
            raise UnreadableInputError(
                1, f"a JSON document of more than {MOST_JSON:,} characters: write JSON Lines, one object on each line"
            )
        if not whole.isascii() and (lost := _LOST.search(whole)):
            line = whole.count("\n", 0, lost.start()) + 1
            raise UnreadableInputError(line, "has characters that are not UTF-8: export it as UTF-8")
        try:
            value = parse_json(whole.strip(_SPARE))
        except json.JSONDecodeError as error:
            what = "one value after another" if error.msg == "Extra data" else f"cannot be read as JSON ({error.msg})"
            raise UnreadableInputError(
                error.lineno, f"{what}: write one array of objects, or one object on each line (JSON Lines)"
            ) from None
        except ValueError as error:
            raise UnreadableInputError(1, plain(error)) from None
        self._values = _records(value)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names in the first objects."""
        return _names(self.rows())

    def rows(self) -> Iterator[Row]:
        """Yield the objects."""
        return (_object_row(number, value) for number, value in enumerate(self._values, start=1))


def _records(value: object) -> list[object]:
    if isinstance(value, dict):
        value = cast(dict[str, object], value).get("call_records", cast(object, value))
    return cast(list[object], value) if isinstance(value, list) else [value]


_LOOKED_AT: Final = 100


def _names(rows: Iterator[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in itertools.islice(rows, _LOOKED_AT) for name in row.cells))


def parse_json(text: str) -> Any:
    """Parse JSON, and refuse what other programs may read differently.

    Raises:
        ValueError: it is wrong, too deep, or has a name more than once.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{plain(doubled, 40)}' is there more than once")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} cannot be written in JSON")


class SheetReader:
    """Read the first sheet of an Excel workbook. It is held in memory; skip rows of blank cells.

    Raises:
        ConfigurationError: python-calamine is not installed.
        UnreadableInputError: the workbook cannot be read, or has no header.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            import python_calamine  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigurationError(
                "an .xlsx file needs one more package: pip install 'truecaller_vbc[xlsx]', or save it as CSV UTF-8"
            ) from None
        try:
            workbook = python_calamine.CalamineWorkbook.from_filelike(file)
            self._rows: Sequence[Sequence[Any]] = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
        except python_calamine.PasswordError:
            raise UnreadableInputError(1, "the workbook has a password: save it without one, or as CSV UTF-8") from None
        except python_calamine.CalamineError as error:
            raise UnreadableInputError(
                1, f"cannot be read as an Excel workbook ({plain(error, 80)}): open and save it again, or as CSV UTF-8"
            ) from None
        filled = (place for place, cells in enumerate(self._rows, start=1) if any(cell != "" for cell in cells))
        self.header_line: int = next(filled, 0)
        if not self.header_line:
            raise UnreadableInputError(1, "the first sheet is empty: its first row must be the header")
        self.columns: tuple[str, ...] = column_names(self._rows[self.header_line - 1])

    def rows(self) -> Generator[Row]:
        """Yield the rows below the header."""
        for place in range(self.header_line, len(self._rows)):
            cells = [_sheet_value(value) for value in self._rows[place]]
            if any(cell != "" for cell in cells):
                yield Row(place + 1, dict(zip(self.columns, cells, strict=False)))


def _sheet_value(value: Any) -> Any:
    """Return the value of a cell; a sheet stores all numbers as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Reader = CSVReader | JSONLinesReader | JSONReader | SheetReader
"""Each has `columns`, `header_line` (0 if the format has none), and `rows`, to be called once."""
