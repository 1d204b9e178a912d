"""Check a whole input, and show what would be sent."""

from __future__ import annotations

import csv
import io
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from truecaller_vbc.api.records import CallRecord
from truecaller_vbc.call_lists import checking as checks
from truecaller_vbc.call_lists.checking import Checked, InvalidRow
from truecaller_vbc.call_lists.formats import Row
from truecaller_vbc.call_lists.source import open_source
from truecaller_vbc.cli.calls.list_options import RecordRules, RowParser
from truecaller_vbc.cli.calls.preview import check, preview, template

from .record_files import CALLER, HEADER, LABEL, number

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
TEN, SIX = "2026-11-27T10:00:00+05:30", "2026-11-27T18:00:00+05:30"


class _Bar:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def at(self, done: int) -> None:
        self.seen.append(done)


def _line(position: int, starts_at: str = TEN, ends_at: str = SIX, label: str = LABEL) -> str:
    return f"{CALLER},{number(position)},{starts_at},{ends_at},{label}"


def _checked(
    tmp_path: Path, lines: list[str] | str, bar: _Bar | None = None, *, duplicates: bool = True, **options: Any
) -> Checked:
    path = tmp_path / "list.csv"
    path.write_text(lines if isinstance(lines, str) else "\n".join([HEADER, *lines]), "utf-8")
    with open_source(path) as source:
        parser = RowParser(RecordRules(now=NOW, **options))
        return check(source, parser, NOW, bar or _Bar(), duplicates=duplicates)


def test_clean_list(tmp_path: Path) -> None:
    """Counts, the first three records and the labels are kept; nothing else is said of a clean list."""
    bar = _Bar()
    checked = _checked(tmp_path, [_line(place, label="Flower shop") for place in range(2500)], bar)

    assert (checked.records, checked.invalid, checked.unreadable) == (2500, 0, False)
    assert (checked.reasons, checked.problems, checked.warnings) == ({}, [], {})
    assert checked.duplicates == (0, ())
    assert [it.receiver_number for it, _ in checked.first] == [number(place) for place in range(3)]
    assert checked.labels_used == {"Flower shop": (2500, 2)}
    assert bar.seen == [1000, 2000]
    assert preview(checked) == [
        "2,500 records: 2,500 valid, 0 invalid",
        "the first of them, as they will be sent:",
        *(
            f'  {CALLER} calls {number(place)}, Fri 27 Nov 2026 10:00 to 18:00 (UTC+05:30), label "Flower shop"'
            for place in range(3)
        ),
        "5 batches, a few seconds at 60 a minute",
    ]  # fmt: skip


def test_problems_by_reason(tmp_path: Path) -> None:
    """Each reason has its count and its first lines, without the values of the cells; the most frequent is first."""
    numbers = [f"98123{place:05d}" for place in range(30)]
    lines = [f"{CALLER},{it},{TEN},{SIX},{LABEL}" for it in numbers]
    lines += [f"{CALLER},+91 98123 {place:05d},{TEN},18:00,{LABEL}" for place in range(2)]
    lines += [_line(0, "2026-11-25T10:00Z", "2026-11-25T11:00Z"), _line(1)]
    checked = _checked(tmp_path, lines)

    assert (checked.records, checked.invalid) == (34, 33)
    assert [count for count, _ in checked.reasons.values()] == [30, 2, 2, 1]
    assert next(iter(checked.reasons.values())) == (30, (2, 3, 4))
    assert next(iter(checked.reasons)) == (
        "receiver_number: … is not in E.164, the country code is missing: give --country IN (or yours), or write it "
        "with +"
    )
    assert len(checked.problems) == 20
    assert checked.problems[0].line == 2
    assert "'9812300000'" in checked.problems[0].fault
    lines = preview(checked)
    assert lines[0] == "34 records: 1 valid, 33 invalid"
    assert lines[-4].endswith("or write it with +: 30 records, lines 2, 3, 4, …")
    assert lines[-1] == "ends_at: lies in the past: the window has closed: 1 record, line 34"


def test_many_reasons(tmp_path: Path) -> None:
    """The number of reasons is bounded."""
    checked = _checked(tmp_path, [",".join(["x"] * width) for width in range(6, 300)])

    assert len(checked.reasons) == 101
    assert checked.reasons["other problems"][0] == 294 - 100


def test_doubtful_records(tmp_path: Path) -> None:
    """A window that has begun, one far ahead, and a caller who is the receiver are sent, with a warning."""
    checked = _checked(
        tmp_path,
        [
            _line(0, "2026-11-26T11:00Z", "2026-11-26T13:00Z"),
            _line(1, "2126-11-26T11:00Z", "2126-11-26T13:00Z"),
            _line(2).replace(number(2), CALLER),
            _line(3),
        ],
    )

    assert checked.invalid == 0
    assert checked.warnings == {
        "the window has begun already": (1, (2,)),
        "the window is more than 30 days ahead": (1, (3,)),
        "the caller and the receiver are the same number": (1, (4,)),
    }
    assert "warning: the window is more than 30 days ahead: 1 record, line 3" in preview(checked)


@pytest.mark.parametrize(
    ("windows", "count"),
    [
        ([(TEN, SIX)] * 3, 2),
        ([(TEN, SIX), ("2026-11-27T17:59+05:30", "2026-11-27T19:00+05:30")], 1),
        ([(TEN, SIX), (SIX, "2026-11-27T19:00+05:30")], 0),
        ([(TEN, SIX), (SIX, "2026-11-27T19:00+05:30"), (TEN, SIX)], 1),
    ],
)
def test_duplicates(tmp_path: Path, windows: list[tuple[str, str]], count: int) -> None:
    """The same pair with an overlapping window is a duplicate; one that begins when the other ends is none."""
    lines = [_line(0, *window) for window in windows]
    checked = _checked(tmp_path, [*lines, _line(1)])

    assert checked.duplicates is not None
    assert checked.duplicates[0] == count
    assert any("the same pair and an overlapping window" in it for it in preview(checked)) is (count > 0)
    assert _checked(tmp_path, lines, duplicates=False).duplicates is None


def test_memory_of_duplicates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many pairs are remembered; later ones are still compared with these."""
    monkeypatch.setattr(checks, "MOST_PAIRS", 2)
    checked = _checked(tmp_path, [_line(it) for it in (0, 1, 2, 2, 1, 0)])

    assert checked.duplicates == (2, (6, 7))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", InvalidRow(1, "it is empty: line 1 must be the header (`truecaller-vbc calls template` has one)")),
        (f'{HEADER}\n{_line(0)}\n"open', InvalidRow(3, "a quote is opened and never closed")),
    ],
)
def test_unreadable_input(tmp_path: Path, text: str, problem: InvalidRow) -> None:
    """What cannot be read is one problem and counts as no record, and those before it are counted."""
    checked = _checked(tmp_path, text)

    assert checked.unreadable
    assert (checked.records, checked.invalid) == (text.count(LABEL), 0)
    assert checked.problems == [problem]
    assert preview(checked)[-1] == f"line {problem.line}: {problem.fault}"


def test_header_that_does_not_fit(tmp_path: Path) -> None:
    """A header with an unknown column is one problem, not one for each row; its line is that of the header."""
    checked = _checked(tmp_path, f"\nsep=,\n{HEADER},Name\n{_line(0)},x\n{_line(1)},x\n")

    assert (checked.records, checked.invalid, checked.unreadable) == (0, 0, True)
    assert checked.problems[0].line == 3
    assert "'Name': not a column of a call record" in checked.problems[0].fault


def test_preview_in_words(tmp_path: Path) -> None:
    """Times are in the zone that is given; a label is shown by name; a window over midnight shows both days."""
    lines = [f"{CALLER},{number(0)},2026-11-27T22:00:00,2026-11-28T02:00:00,{LABEL},My shop,Your parcel is here"]
    header = f"{HEADER},dynamic_label_name,dynamic_call_reason"
    checked = _checked(tmp_path, "\n".join([header, *lines]), timezone="Asia/Kolkata")
    none = _checked(tmp_path, [_line(0, "1795753800000", "1795782600000", "")], no_label=True)

    assert preview(checked, labels={LABEL: "Flower shop"})[2] == (
        f"  {CALLER} calls {number(0)}, Fri 27 Nov 2026 22:00 to Sat 28 Nov 02:00 (Asia/Kolkata), "
        'label "Flower shop", shown as "My shop", reason "Your parcel is here"'
    )
    assert preview(none)[2].endswith("Fri 27 Nov 2026 04:30 to 12:30 (UTC), without a label")


@pytest.mark.parametrize(
    ("batches", "rate", "words"),
    [
        (1, 60, "1 batch, a few seconds at 60 a minute"),
        (60, 60, "60 batches, a few seconds at 60 a minute"),
        (61, 60, "61 batches, about 1 minute at 60 a minute"),
        (2000, 60, "2,000 batches, about 33 minutes at 60 a minute"),
        (61, 10, "61 batches, about 6 minutes at 10 a minute"),
    ],
)
def test_minutes_of_a_push(tmp_path: Path, batches: int, rate: float, words: str) -> None:
    """The first minute's batches leave at once, so a push takes a minute for each further minute's worth."""
    checked = _checked(tmp_path, [_line(it) for it in range(batches)])

    assert words in preview(checked, batch=1, rate=rate)


def test_template_is_a_valid_list(tmp_path: Path) -> None:
    """The template has a header and two records for tomorrow, and is valid but for its label."""
    zone = timezone(timedelta(hours=5, minutes=30))
    text = template(NOW, zone)
    rows = list(csv.DictReader(io.StringIO(text)))

    assert [(row["starts_at"], row["ends_at"]) for row in rows] == [(TEN, SIX)] * 2
    record = RowParser(RecordRules(now=NOW), {"name or id of a label": LABEL}).record(Row(2, rows[0]))
    assert isinstance(record, CallRecord)
    assert _checked(tmp_path, text).records == 2
    assert _checked(tmp_path, text).invalid == 0


@pytest.mark.slow
def test_memory_of_a_long_list(tmp_path: Path) -> None:
    """The memory of a check does not grow with the list."""
    peaks = []
    for count in (1_000, 20_000):
        lines = [_line(place) for place in range(count)]
        tracemalloc.start()
        try:
            path = tmp_path / "list.csv"
            path.write_text("\n".join([HEADER, *lines]))
            del lines
            tracemalloc.reset_peak()
            with open_source(path) as source:
                check(source, RowParser(RecordRules(now=NOW)), NOW, _Bar())
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()

    assert peaks[1] < peaks[0] + 1_000_000
