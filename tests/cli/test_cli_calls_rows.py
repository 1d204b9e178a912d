"""What an input may look like, and what is describe of one that does not."""

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
    """A BOM, spaces in the header, CRLF, empty lines, quoted newlines: the line is the record's first."""
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
    """It is named, and the next one is read."""
    first, second = _csv(f"{HEADER}\n{text}\n{line(1)}\n")

    assert (first.line, first.fault) == (2, fault)
    assert (second.line, second.fault) == (3, "")


def test_csv_bytes_that_are_no_text() -> None:
    """The column is named."""
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
    """The line is named, and nothing after it is guessed."""
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
    """It is named, and the next one is read; blank lines count as lines, and are no records."""
    raw = text.encode() if isinstance(text, str) else text
    first, second = _jsonl(b"\xef\xbb\xbf\n" + raw + b'\n \n{"receiver_number": "+911"}')

    assert first.line == 2
    assert first.fault.startswith(fault)
    assert second == Row(4, {"receiver_number": "+911"})


@pytest.mark.slow
@pytest.mark.parametrize("readers", [csv_rows, jsonl_rows])
@given(raw=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
def test_whatever_it_is_it_is_judged(readers: Any, raw: bytes) -> None:
    """No bytes lead to anything but records, faults, or the one error; the same below a header that is right."""
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
def test_whatever_the_fields_are_they_are_judged(values: list[Any], names: list[str]) -> None:
    """One line for a person, which fits on a screen, and has nothing that moves a cursor."""
    verdict = RowParser(label_id=LABEL).record(Row(1, dict(zip(names, values, strict=True))))

    if isinstance(verdict, str):
        assert verdict
        assert verdict.isprintable()
        assert len(verdict) <= 300


@pytest.mark.parametrize(
    ("given_label", "judge", "label"),
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
def test_label_that_is_missing(given_label: str | None, judge: RowParser, label: str | None) -> None:
    """It is filled in only where there is none; null in JSON is meant."""
    fields: dict[str, Any] = dict(zip(HEADER.split(","), line(0).split(","), strict=True))
    verdict = judge.record(Row(1, fields | {"label_id": given_label}))

    if isinstance(verdict, str):
        assert label is not None
        assert verdict.startswith(label)
    else:
        assert verdict.label_id == label


def test_times_in_both_ways() -> None:
    """ISO 8601 with a zone, and epoch milliseconds."""
    fields = {"caller_number": CALLER, "receiver_number": number(0), "label_id": None}
    iso = RowParser().record(
        Row(1, fields | {"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-01T06:00:00+05:30"})
    )
    epoch = RowParser().record(Row(1, fields | {"starts_at": "1767225600000", "ends_at": 1767227400000}))

    assert iso == epoch


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.ndjson", "a", "a.txt"])
@pytest.mark.parametrize("written", [Format.CSV, Format.JSONL])
def test_format_by_name_or_by_its_first_character(tmp_path: Path, name: str, written: Format) -> None:
    """A name that says it goes before; `--format` goes before both."""
    path = write_csv(tmp_path / name, 3) if written is Format.CSV else write_jsonl(tmp_path / name, 3)
    describe = {"a.csv": Format.CSV, "a.jsonl": Format.JSONL, "a.ndjson": Format.JSONL}.get(name, written)

    with open_source(path) as source:
        assert source.format is describe
    with open_source(path, written) as source:
        assert [row.fields["receiver_number"] for row in source.rows()] == [number(place) for place in range(3)]
        assert len(list(source.rows())) == 3


def test_memory_does_not_grow_with_a_line() -> None:
    """A line that never ends is given up after one piece of it, in CSV; in JSON lines it is passed over in pieces."""

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
    """A number is no text."""
    assert _jsonl(json.dumps({"starts_at": 1, "label_id": None})) == [Row(1, {"starts_at": 1, "label_id": None})]
