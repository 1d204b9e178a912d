"""Read CSV, JSON Lines, JSON and workbooks, as they are written by spreadsheets and CRMs."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import os
import sys
import tempfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc.api.records import CallRecord
from truecaller_vbc.call_lists import formats
from truecaller_vbc.call_lists.columns import RecordRules, RowParser
from truecaller_vbc.call_lists.formats import MOST_CHARACTERS, Row, UnreadableInputError
from truecaller_vbc.call_lists.source import (
    Format,
    InputChangedError,
    Source,
    SourceOptions,
    open_source,
)
from truecaller_vbc.errors import ConfigurationError

from ..cli.record_files import HEADER, line, number, write_csv, write_jsonl
from ..cli.workbook import workbook

FULL = HEADER + ",dynamic_label_name,dynamic_call_reason"
UTF16 = "\ufeff" + HEADER


_OPENED: list[BinaryIO] = []


@pytest.fixture(autouse=True)
def _close_files() -> Iterator[None]:
    yield
    _close()


def _close() -> None:
    while _OPENED:
        _OPENED.pop().close()


def _source(raw: str | bytes, name: str = "list", **options: Any) -> Source:
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed by _close_files
    _OPENED.append(file)
    file.write(raw.encode() if isinstance(raw, str) else raw)
    return Source(file, Path(name), name, SourceOptions(**options))


def _rows(raw: str | bytes, name: str = "list", **options: Any) -> list[Row]:
    return list(_source(raw, name, **options).rows())


def _receivers(rows: list[Row]) -> list[Any]:
    assert [row.fault for row in rows] == [""] * len(rows)
    return [row.cells["receiver_number"] for row in rows]


def test_csv_with_everything_that_is_allowed() -> None:
    """BOM, CRLF, spaces in the header, empty lines and quoted newlines are allowed; a row has its first line number."""
    rows = _rows(
        "\ufeff"
        + FULL.replace(",", " , ")
        + f'\r\n{line(0)},,\r\n\r\n{line(1)},"Flower\nshop",\r\n{line(2)}, "a ""b""",'
    )

    assert [(row.line, row.fault) for row in rows] == [(2, ""), (4, ""), (6, "")]
    assert rows[1].cells["dynamic_label_name"] == "Flower\nshop"
    assert rows[2].cells["dynamic_label_name"] == 'a "b"'
    assert rows[0].cells["receiver_number"] == number(0)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoted", [False, True])
def test_delimiter_is_seen_in_the_header(delimiter: str, quoted: bool) -> None:
    """The delimiter is the one that gives names of fields, also when other ones stand in the header."""
    names = [f'"{name}"' if quoted else name for name in (*HEADER.split(","), "Name, first; or | last")]
    cells = [f'"{cell}"' if quoted else cell for cell in (*line(0).split(","), "Rao, A; B|C")]
    if not quoted:
        names[-1], cells[-1] = f'"{names[-1]}"', f'"{cells[-1]}"'

    rows = _rows(delimiter.join(names) + "\r\n" + delimiter.join(cells) + "\r\n")

    assert _receivers(rows) == [number(0)]
    assert rows[0].cells["Name, first; or | last"] == "Rao, A; B|C"


@pytest.mark.parametrize(
    ("delimiter", "mark"), [("tab", "\t"), ("\\t", "\t"), ("Semicolon", ";"), ("^", "^"), ("pipe", "|"), (None, ";")]
)
def test_delimiter_that_is_given(delimiter: str | None, mark: str) -> None:
    """`delimiter` is a character or its name; names that are not known are separated by the most frequent one."""
    rows = _rows(f"Mobile{mark}Name, first{mark}Note\n1{mark}2{mark}3\n", delimiter=delimiter)

    assert [row.cells for row in rows] == [{"Mobile": "1", "Name, first": "2", "Note": "3"}]


@pytest.mark.parametrize("options", [{"delimiter": "ab"}, {"delimiter": '"'}, {"delimiter": ""}])
def test_wrong_delimiter(options: Any) -> None:
    """A delimiter that cannot be one is a wrong setting."""
    with pytest.raises(ConfigurationError, match="delimiter="):
        SourceOptions(**options)
    with pytest.raises(ConfigurationError, match="delimiter="):
        SourceOptions(delimiter=",", format=Format.JSON)


@pytest.mark.parametrize(
    "raw",
    [
        f"\ufeff\ufeff{HEADER}\n{line(0)}\n",
        '\ufeff\ufeff"' + HEADER.replace(",", '","') + f'"\n{line(0)}\n',
        f"sep=,\r\n{HEADER}\r\n{line(0)}\r\n",
        f'\ufeff"sep=;"\r\n{HEADER.replace(",", ";")}\r\n{line(0).replace(",", ";")}\r\n',
        f"sep=;;;;\n{HEADER.replace(',', ';')}\n{line(0).replace(',', ';')}\n",
        f"{HEADER}\r{line(0)}\r",
        f"\n,,,,\n{HEADER}\n{line(0)}\n",
        f"{HEADER}\n{line(0)}\n,,,,\n , , , , \n\n",
        f'{HEADER}\n{line(0)}\n"","","","",""\n',
        f"{HEADER}\n{line(0)}\n\x1a",
        f"{HEADER}\n{line(0)}\x1a",
        f"{HEADER}\n{line(0)}\n\0\0\0\0",
        f"{HEADER},,\n{line(0)},,\n",
        f"{HEADER}\n{line(0)},,,\n",
        f"{UTF16}\r\n{line(0)}\r\n".encode("utf-16-le"),
        f"{UTF16}\r\n{line(0)}\r\n".encode("utf-16-be"),
        f"{HEADER}\r\n{line(0)}\r\n".encode("utf-16-le"),
        f"{UTF16}\r\n{line(0)}\r\n".replace(",", "\t").encode("utf-16-le"),
        gzip.compress(f"{HEADER}\n{line(0)}\n".encode()),
        gzip.compress(f"{UTF16}\r\n{line(0)}\r\n".encode("utf-16-le")),
        gzip.compress(f"{HEADER}\n".encode()) + gzip.compress(f"{line(0)}\n".encode()),
        HEADER.replace(",", ", ") + "\n" + line(0).replace(",", ', "') .replace("+911234567890", '"+911234567890')
        .replace(', "', '", "') + '"\n',
    ],
)  # fmt: skip
def test_shapes_of_spreadsheets(raw: str | bytes) -> None:
    """Each shape gives the one record."""
    rows = _rows(raw)

    assert _receivers(rows) == [number(0)]
    assert tuple(rows[0].cells) == tuple(HEADER.split(","))
    assert isinstance(RowParser(RecordRules()).record(rows[0]), CallRecord)


def test_mixed_line_ends() -> None:
    """Lines may end differently in one file; each counts once."""
    rows = _rows(f"{HEADER}\n{line(0)}\r\n{line(1)}\r{line(2)}")

    assert [row.line for row in rows] == [2, 3, 4]
    assert _receivers(rows) == [number(place) for place in range(3)]


def test_names_of_columns() -> None:
    """Columns without a name get one, and doubled ones a number, so that no cell is lost."""
    source = _source("\xa0, caller_number ,Note,Note,Note (2),\n1,2,3,4,5,\n")

    assert source.header()[1] == ("column 1", "caller_number", "Note", "Note (2)", "Note (2) (2)")
    assert list(next(source.rows()).cells.values()) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a,b", "has 2 cells, and the header has 5"),
        (line(0) + ",x", "has 6 cells, and the header has 5"),
        (line(0)[:-5] + "\0" + line(0)[-4:], "label_id: has characters that are not UTF-8"),
        ('"a"b,c', "a quote inside a quoted cell must be doubled"),
        (line(0) + "\ufffd", "label_id: has characters that are not UTF-8"),
    ],
)
def test_csv_record_that_cannot_be_read(text: str, fault: str) -> None:
    """A record that cannot be read is reported, and the next one is read."""
    first, second = _rows(f"{HEADER}\n{text}\n{line(1)}\n")

    assert first.line == 2
    assert first.fault.startswith(fault)
    assert (second.line, second.fault) == (3, "")


def test_text_of_another_encoding() -> None:
    """Text in cp1252 is reported with its line and column, and with what to do; broken UTF-16 too."""
    cp1252 = _rows(f"{FULL}\n{line(0)},,\n{line(1)},Café Rao,\n".encode("cp1252"))
    utf16 = _rows((UTF16 + "\n" + line(0)).encode("utf-16-le") + b"\x00\xdc")

    assert cp1252[1].line == 3
    assert cp1252[1].fault.startswith("dynamic_label_name: has characters that are not UTF-8: save the file as 'CSV")
    assert utf16[0].fault.startswith("label_id: has characters")
    with pytest.raises(UnreadableInputError, match="line 1: the header has characters that are not UTF-8"):
        _rows("numéro,nom\n".encode("cp1252"))


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("", 1, "empty: line 1 must be the header"),
        ("\n\n,,\n", 1, "empty: line 1 must be the header"),
        (f'{HEADER}\n{line(0)}\n"open,\n,\n', 3, "a quote is opened and never closed"),
        (f"{HEADER}\n{'x' * 200_000}\n", 2, "a cell is longer"),
        (f"{HEADER}\n{',' * (MOST_CHARACTERS + 1)}\n", 2, "a record of more than"),
        (HEADER + "\n" + '"\n",' * MOST_CHARACTERS, 2, "a record of more than"),
        ('"never closed', 1, "a quote is opened and never closed"),
        (gzip.compress(b"".join(b"%d,%d\n" % (place, place * 7) for place in range(90_000)))[:-9000], 1, "cut off"),
        ('[{"a": 1}', 1, "cannot be read as JSON"),
        ('{"a": 1}\n {"a": 2\n}\n', 2, ""),
        ('{\n"a": 1}\n{"a": 2}\n', 3, "one value after another: write one array of objects, or one object on each"),
        ('[{"a": 1, "a": 2}]', 1, "'a' is there more than once"),
        ('[\n"\ud800"]'.encode("utf-8", "surrogatepass"), 2, "are not UTF-8"),
    ],
)
def test_input_that_cannot_be_read(text: str | bytes, where: int, words: str) -> None:
    """An unreadable file raises an error with the line, and nothing after that line is read."""
    if not words:
        assert [row.fault == "" for row in _rows(text)] == [True, False, False]
        return
    with pytest.raises(UnreadableInputError, match=words) as caught:
        _rows(text)

    assert caught.value.line == where


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[1]", "must be a JSON object, not list"),
        ("1", "must be a JSON object, not int"),
        ('{"a": 1', "cannot be read as JSON (Expecting ',' delimiter at character 8)"),
        ('{"a": 1, "b": 2, "a": 3}', "'a' is there more than once"),
        ('{"a": {"b": 1, "b": 1}}', "'b' is there more than once"),
        ('{"a": NaN}', "NaN cannot be written in JSON"),
        ('{"a": ' + "[" * 100_000, "is nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "Exceeds the limit"),
        (b'{"a": "\xff"}', "has characters that are not UTF-8"),
        ("{" + " " * MOST_CHARACTERS + "}", "a record of more than"),
    ],
    ids=["list", "number", "open", "doubled", "doubled-inside", "nan", "deep", "digits", "bytes", "long"],
)
def test_jsonl_record_that_cannot_be_read(text: str | bytes, fault: str) -> None:
    """A line that is not a JSON object is reported, and the next one is read; blank lines are skipped but counted."""
    raw = text.encode() if isinstance(text, str) else text
    first, second = _rows(b"\xef\xbb\xbf\n" + raw + b'\n \n{"receiver_number": "+911"}', format=Format.JSONL)

    assert first.line == 2
    assert first.fault.startswith(fault)
    assert second == Row(4, {"receiver_number": "+911"})


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('[{"a": 1}, {"b": null}]', Format.JSON),
        ('\ufeff \n[\n{"a": 1},\n{"b": null}\n]\n', Format.JSON),
        ('{"call_records": [{"a": 1}, {"b": null}]}', Format.JSON),
        ('{\n  "call_records": [\n{"a": 1}, {"b": null}]\n}', Format.JSON),
        ('{"a": 1}\n{"b": null}\n', Format.JSONL),
        (gzip.compress(b'{"a": 1}\n{"b": null}\n'), Format.JSONL),
        ('{"a": 1}\n{"b": null}\n'.encode("utf-16"), Format.JSONL),
    ],
)
def test_shapes_of_json(raw: str | bytes, expected: Format) -> None:
    """The shape is seen in the first characters, whatever the name; types and null are kept."""
    for name in ("list.json", "list.csv", "list.txt"):
        source = _source(raw, name)
        assert source.format is expected
        assert [row.cells for row in source.rows()] == [{"a": 1}, {"b": None}]
        assert source.header()[1] == ("a", "b")
        assert source.unit == ("item" if expected is Format.JSON else "line")


def test_one_pretty_printed_object() -> None:
    """One object on many lines is one record, unless the name says that each line is one."""
    text = json.dumps({"a": 1, "b": 2}, indent=2)

    assert [row.cells for row in _rows(text)] == [{"a": 1, "b": 2}]
    assert len(_rows(text, "list.jsonl")) == 4
    assert [row.fault for row in _rows('[1, {"a": 2}]')] == ["must be a JSON object, not int", ""]


def test_json_document_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JSON document is read as a whole, so it is bounded; JSON Lines is not."""
    monkeypatch.setattr(formats, "MOST_JSON", 100)

    with pytest.raises(UnreadableInputError, match="write JSON Lines, one object on each line"):
        _rows(json.dumps([{"a": 1}] * 20))
    assert len(_rows('{"a": 1}\n' * 20)) == 20


def test_workbook() -> None:
    """The first sheet is read: dates are dates, whole numbers have no fraction, blank rows and columns are skipped."""
    moment = datetime(2026, 11, 27, 10, 30)  # noqa: DTZ001 - a sheet knows no zone
    raw = workbook(
        [
            [None, None],
            ["Mobile", "starts_at", "Note", " "],
            [919876500001, moment, "two\nlines"],
            [None, None, ""],
            [1.5, date(2026, 11, 27), None, None],
        ]
    )
    source = _source(raw, "list.csv")
    rows = list(source.rows())

    assert (source.format, source.unit) == (Format.XLSX, "row")
    assert source.header() == (2, ("Mobile", "starts_at", "Note"))
    assert [row.line for row in rows] == [3, 5]
    assert rows[0].cells == {"Mobile": 919876500001, "starts_at": moment, "Note": "two\nlines"}
    assert rows[1].cells["Mobile"] == 1.5
    assert type(rows[0].cells["Mobile"]) is int
    assert list(source.rows()) == rows


def test_workbook_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workbook that is empty or broken is unreadable; without the extra the message says what to install."""
    broken = io.BytesIO()
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", "<x/>")

    with pytest.raises(UnreadableInputError, match="the first sheet is empty"):
        _rows(workbook([]))
    with pytest.raises(UnreadableInputError, match=r"cannot be read as an Excel workbook .*: open and save it again"):
        _rows(broken.getvalue())
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'truecaller_vbc\[xlsx\]'"):
        _rows(workbook([["a"]]))


def _zip(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (_zip("list.csv"), "list is a ZIP archive: unpack it, and give the list inside"),
        (_zip("content.xml"), "an OpenDocument file: save it as .xlsx or as CSV UTF-8"),
        (b"PK\x03\x04 cut off", "a ZIP archive"),
        (gzip.compress(_zip("xl/workbook.xml")), "a ZIP archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls), or one with a password: save it as .xlsx"),
        (b"%PDF-1.7", "a PDF: export the list"),
        (b"<html><table>", "HTML or XML (some CRMs call it .xls): open it in a spreadsheet"),
        (bz2.compress(b"a,b\n"), "an archive: unpack it"),
        (b"\x1f\x8b\x08\x00 no gzip", "a damaged .gz file"),
    ],
)
def test_files_of_another_kind(raw: bytes, words: str) -> None:
    """A file that is no list is refused with what to do, also when a format is given."""
    for options in ({}, {"format": Format.CSV}):
        with pytest.raises(ConfigurationError) as caught:
            _source(raw, **options)
        assert words in str(caught.value)


@pytest.mark.parametrize("written", [Format.CSV, Format.JSONL])
def test_format_that_is_given(tmp_path: Path, written: Format) -> None:
    """The first characters decide, whatever the name; `format` decides over them."""
    write = write_csv if written is Format.CSV else write_jsonl
    for name in ("a.csv", "a.jsonl", "a", "a.txt"):
        path = write(tmp_path / name, 3)
        with open_source(path) as source:
            assert source.format is written
            assert _receivers(list(source.rows())) == [number(place) for place in range(3)]
            assert len(list(source.rows())) == 3
        other = Format.JSONL if written is Format.CSV else Format.CSV
        with open_source(path, SourceOptions(format=other)) as source:
            assert source.format is other


def test_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A missing file, a directory and a pipe are wrong settings; the name given stands in the message."""
    os.mkfifo(tmp_path / "pipe")
    for path, words in [
        (tmp_path / "no", "cannot be read"),
        (tmp_path, "cannot be read"),
        (tmp_path / "pipe", "is no regular file"),
    ]:
        with pytest.raises(ConfigurationError, match=rf"the list .*{words}"), open_source(path, name="the list"):
            pass


def test_change_while_it_is_read(tmp_path: Path) -> None:
    """Other bytes are a change; a new time of modification is none, and does not disturb a reader."""
    path = write_csv(tmp_path / "a.csv", 3000)
    with open_source(path) as source:
        before = source.fingerprint()
        rows = source.rows()
        first = next(rows)
        os.utime(path, (1, 1))
        source.check_unchanged()
        assert first.line == 2
        assert len(list(rows)) == 2999
        path.write_text(path.read_text().replace("+91", "+92"))
        with pytest.raises(InputChangedError, match=r"a\.csv was changed while it was being read"):
            source.check_unchanged()
        assert source.fingerprint() == before


def test_memory_of_an_endless_line() -> None:
    """A line without an end is not held in memory."""
    raw = b"x" * (64 * MOST_CHARACTERS)
    source = _source(raw, format=Format.JSONL)
    del raw
    tracemalloc.start()
    try:
        assert [row.fault for row in source.rows()] == [f"a record of more than {MOST_CHARACTERS:,} characters"]
        assert tracemalloc.get_traced_memory()[1] < 16 * MOST_CHARACTERS
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("given_format", [None, Format.CSV, Format.JSONL, Format.JSON])
@given(raw=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes(given_format: Format | None, raw: bytes) -> None:
    """Any bytes give records, faults or an error, with and without a valid header."""
    for text in (raw, HEADER.encode() + b"\n" + raw, b'{"label_id": ' + raw + b"}", b"[" + raw + b"]"):
        lines = 0
        with contextlib.suppress(UnreadableInputError, ConfigurationError):
            for row in _source(text, format=given_format).rows():
                assert row.line > lines
                lines = row.line
                assert isinstance(RowParser(RecordRules()).record(row), str | CallRecord)
        _close()
