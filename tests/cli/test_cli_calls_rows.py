"""Read records from CSV and JSON lines, valid and invalid."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc.api.records import CallRecord
from truecaller_vbc.cli.calls.formats import MOST_CHARACTERS, Row, UnreadableInputError, csv_rows, jsonl_rows
from truecaller_vbc.cli.calls.reading import Format, open_source
from truecaller_vbc.cli.calls.records import RowParser

from .record_files import CALLER, HEADER, LABEL, line, number, write_csv, write_jsonl

FULL = HEADER + ",dynamic_label_name,dynamic_call_reason"


def _csv(text: str | bytes) -> list[Row]:
    return list(csv_rows(io.BytesIO(text.encode() if isinstance(text, str) else text)))


def _jsonl(text: str | bytes) -> list[Row]:
    return list(jsonl_rows(io.BytesIO(text.encode() if isinstance(text, str) else text)))


def test_csv_with_everything_that_is_allowed() -> None:
    """BOM, CRLF, spaces in the header, empty lines and quoted newlines are allowed; a row has its first line number."""
    rows = _csv(
        "\ufeff"
        + FULL.replace(",", " , ")
        + f'\r\n{line(0)},,\r\n\r\n{line(1)},"Flower\nshop",\r\n{line(2)},"a ""b""",'
    )

    assert [(row.line, row.fault) for row in rows] == [(2, ""), (4, ""), (6, "")]
    assert rows[1].fields["dynamic_label_name"] == "Flower\nshop"
    assert rows[2].fields["dynamic_label_name"] == 'a "b"'
    assert rows[0].fields["receiver_number"] == number(0)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a,b", "has 2 cells, and the header has 5"),
        (line(0) + ",x", "has 6 cells, and the header has 5"),
        (line(0)[:-5] + "\0" + line(0)[-4:], "label_id: has bytes that are not UTF-8 text"),
        ('"a"b,c', "a quote inside a quoted cell must be doubled"),
    ],
)
def test_csv_record_that_cannot_be_read(text: str, fault: str) -> None:
    """A record that cannot be read is reported, and the next one is read."""
    first, second = _csv(f"{HEADER}\n{text}\n{line(1)}\n")

    assert (first.line, first.fault) == (2, fault)
    assert (second.line, second.fault) == (3, "")


def test_csv_bytes_that_are_not_utf8() -> None:
    """Bytes that are not UTF-8 are reported with their column."""
    rows = _csv(f"{HEADER}\n{line(0)}".encode() + b"\xff\xfe")

    assert rows[0].fault == "label_id: has bytes that are not UTF-8 text"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("", 1, "a header is needed"),
        ("\n\n", 1, "a header is needed"),
        (line(0), 1, "the columns are caller_number"),
        (HEADER.replace(",", ";"), 1, "separated by commas"),
        (HEADER + ",receiver_number", 1, "more than once"),
        (HEADER.replace("receiver_number,", ""), 1, "the header lacks receiver_number"),
        (HEADER.encode("utf-16"), 1, "CSV UTF-8"),
        (f'{HEADER}\n{line(0)}\n"open,\n,\n', 3, "a quote is opened and never closed"),
        (f"{HEADER}\n{'x' * 200_000}\n", 2, "a cell is longer"),
        (f"{HEADER}\n{',' * (MOST_CHARACTERS + 1)}\n", 2, "a record of more than"),
        (HEADER + "\n" + '"\n",' * MOST_CHARACTERS, 2, "a record of more than"),
    ],
    ids=["nothing", "blank", "no-header", "semicolons", "twice", "lacks", "utf16", "open", "cell", "line", "lines"],
)
def test_csv_that_cannot_be_read(text: str | bytes, where: int, words: str) -> None:
    """An unreadable file raises an error with the line, and nothing after that line is read."""
    with pytest.raises(UnreadableInputError, match=words) as caught:
        _csv(text)

    assert caught.value.line == where


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[1]", "must be a JSON object, not list"),
        ("1", "must be a JSON object, not int"),
        ('{"a": 1', "is no JSON: "),
        ('{"a": 1, "b": 2, "a": 3}', "'a' is there more than once"),
        ('{"a": {"b": 1, "b": 1}}', "'b' is there more than once"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": ' + "[" * 100_000, "is nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "Exceeds the limit"),
        (b'{"a": "\xff"}', "has bytes that are not UTF-8 text"),
        ("{" + " " * MOST_CHARACTERS + "}", "a record of more than"),
    ],
    ids=["list", "number", "open", "doubled", "doubled-inside", "nan", "deep", "digits", "bytes", "long"],
)
def test_jsonl_record_that_cannot_be_read(text: str | bytes, fault: str) -> None:
    """A line that is not a JSON object is reported, and the next one is read; blank lines are skipped but counted."""
    raw = text.encode() if isinstance(text, str) else text
    first, second = _jsonl(b"\xef\xbb\xbf\n" + raw + b'\n \n{"receiver_number": "+911"}')

    assert first.line == 2
    assert first.fault.startswith(fault)
    assert second == Row(4, {"receiver_number": "+911"})


@pytest.mark.slow
@pytest.mark.parametrize("readers", [csv_rows, jsonl_rows])
@given(raw=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes(readers: Any, raw: bytes) -> None:
    """Any bytes give records, faults or UnreadableInputError, with and without a valid header."""
    for text in (raw, HEADER.encode() + b"\n" + raw, b'{"label_id": ' + raw + b"}"):
        lines = 0
        rows: Iterator[Row] = readers(io.BytesIO(text))
        with contextlib.suppress(UnreadableInputError):
            for row in rows:
                assert row.line > lines
                lines = row.line
                assert isinstance(RowParser().record(row), str | CallRecord)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(values=st.lists(_JSON, min_size=7, max_size=7), names=st.permutations(FULL.split(",")))
def test_any_fields(values: list[Any], names: list[str]) -> None:
    """The description of any invalid record is one printable line of at most 300 characters."""
    record_or_fault = RowParser(label_id=LABEL).record(Row(1, dict(zip(names, values, strict=True))))

    if isinstance(record_or_fault, str):
        assert record_or_fault
        assert record_or_fault.isprintable()
        assert len(record_or_fault) <= 300


@pytest.mark.parametrize(
    ("given_label", "parser", "label"),
    [
        (LABEL, RowParser(), LABEL),
        (LABEL, RowParser(label_id="other"), LABEL),
        (LABEL, RowParser(no_label=True), LABEL),
        ("", RowParser(label_id="other"), "other"),
        ("  ", RowParser(label_id="other"), "other"),
        ("", RowParser(no_label=True), None),
        (None, RowParser(label_id="other"), None),
        (None, RowParser(), None),
        ("", RowParser(), "label_id: is missing"),
        ("  ", RowParser(), "label_id: is missing"),
    ],
)
def test_missing_label(given_label: str | None, parser: RowParser, label: str | None) -> None:
    """A label is filled in only for an empty cell; null in JSON means no label."""
    fields: dict[str, Any] = dict(zip(HEADER.split(","), line(0).split(","), strict=True))
    record_or_fault = parser.record(Row(1, fields | {"label_id": given_label}))

    if isinstance(record_or_fault, str):
        assert label is not None
        assert record_or_fault.startswith(label)
    else:
        assert record_or_fault.label_id == label


def test_both_formats_of_times() -> None:
    """Times are ISO 8601 with a zone, or epoch milliseconds."""
    fields = {"caller_number": CALLER, "receiver_number": number(0), "label_id": None}
    iso = RowParser().record(
        Row(1, fields | {"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-01T06:00:00+05:30"})
    )
    epoch = RowParser().record(Row(1, fields | {"starts_at": "1767225600000", "ends_at": 1767227400000}))

    assert iso == epoch


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.ndjson", "a", "a.txt"])
@pytest.mark.parametrize("written", [Format.CSV, Format.JSONL])
def test_format_by_name_or_by_its_first_character(tmp_path: Path, name: str, written: Format) -> None:
    """`--format` decides first, then the name of the file, then its first character."""
    path = write_csv(tmp_path / name, 3) if written is Format.CSV else write_jsonl(tmp_path / name, 3)
    expected = {"a.csv": Format.CSV, "a.jsonl": Format.JSONL, "a.ndjson": Format.JSONL}.get(name, written)

    with open_source(path) as source:
        assert source.format is expected
    with open_source(path, written) as source:
        assert [row.fields["receiver_number"] for row in source.rows()] == [number(place) for place in range(3)]
        assert len(list(source.rows())) == 3


def test_memory_of_an_endless_line() -> None:
    """A line without an end is not held in memory."""

    class Endless(io.RawIOBase):
        left = 64

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            self.left -= 1
            buffer[:] = b"x" * len(buffer)
            return len(buffer) if self.left > 0 else 0

    file: BinaryIO = io.BufferedReader(Endless(), 1024 * 1024)
    assert [row.fault for row in jsonl_rows(file)] == [f"a record of more than {MOST_CHARACTERS:,} bytes"]


def test_json_lines_keep_their_types() -> None:
    """JSON lines keep numbers and null as they are."""
    assert _jsonl(json.dumps({"starts_at": 1, "label_id": None})) == [Row(1, {"starts_at": 1, "label_id": None})]
