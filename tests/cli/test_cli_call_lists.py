"""Try every list of call_lists/, as it is and with the options it needs; compare docs/call-lists.md with the result.

Write the page again after a change: ``TRUECALLER_VBC_WRITE_DOCS=1 pytest tests/cli/test_cli_call_lists.py``.
"""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from truecaller_vbc.call_lists.checking import Checked
from truecaller_vbc.call_lists.source import open_source
from truecaller_vbc.cli.calls.list_options import RecordRules, RowParser
from truecaller_vbc.cli.calls.preview import check
from truecaller_vbc.errors import ConfigurationError

from .record_files import LABEL

FOLDER = Path(__file__).with_name("call_lists")
PAGE = Path(__file__).parents[2] / "docs" / "call-lists.md"
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
LABELS = {LABEL: LABEL, "flower shop": LABEL}
INDIA = "--country IN"
ZONE = "--timezone Asia/Kolkata"
OTHER_TIMES = f"--column starts_at= --column ends_at= --ignore-extra --date tomorrow --window 10:00-18:00 {ZONE}"
CRM = (
    f"--ignore-extra {INDIA} --caller +911140000000 --label 'Flower shop' --reason 'Delivery of your parcel' "
    f"--date tomorrow --window 10:00-18:00 {ZONE}"
)


class Case(NamedTuple):
    """Describe a list, and the options with which it is accepted."""

    file: str
    shape: str
    options: str = ""


CASES = {
    "Shapes of a file": [
        Case("good.csv", "CSV as a spreadsheet saves it"),
        Case("bom.csv", "CSV UTF-8 with a byte order mark"),
        Case("utf16.csv", "UTF-16 with a byte order mark (Excel's Unicode text)"),
        Case("utf16-notab.csv", "UTF-16 without a byte order mark"),
        Case("semicolon.csv", "semicolons between the cells (Excel in Europe)"),
        Case("cr-only.csv", "lines that end with CR (old Macs)"),
        Case("mixed-eol.csv", "lines that end in three ways"),
        Case("allquoted.csv", "each cell in quotes"),
        Case("space-after-comma.csv", "a space after each comma"),
        Case("singlequote.csv", "cells in single quotes"),
        Case("quoted-newline.csv", "a line break inside a cell"),
        Case("bad-quote.csv", "a quote inside a quoted cell"),
        Case("unclosed.csv", "a quote that is never closed"),
        Case("trailing-empty-rows.csv", "rows of commas at the end"),
        Case("blank-lines.csv", "blank lines only"),
        Case("empty.csv", "nothing"),
        Case("header-only.csv", "a header and no rows (a day without calls)"),
        Case("short-row.csv", "a row that is too short"),
        Case("extra-cell.csv", "a spare comma at the end of a row"),
        Case("trailing-header-comma.csv", "a spare comma at the end of every line"),
        Case("hindi.csv", "text in Hindi"),
        Case("good.csv.gz", "CSV packed with gzip"),
        Case("good.zip", "CSV in a ZIP archive"),
        Case("good.xlsx", "a workbook that is broken"),
        Case("good.jsonl", "JSON Lines"),
        Case("array.json", "a JSON array"),
        Case("wrapped.json", "the body of the API's own request"),
        Case("num-json.jsonl", "JSON with numbers that are no strings", INDIA),
    ],
    "Headers": [
        Case("header-case.csv", "names in capital letters"),
        Case("header-nbsp.csv", "a no-break space and a zero-width space in the names"),
        Case("extra-columns.csv", "columns of the CRM beside ours", "--ignore-extra"),
        Case(
            "dup-header.csv",
            "a column twice",
            "--column receiver_number=receiver_number --ignore-extra",
        ),
        Case("no-header.csv", "no header"),
        Case("title-rows.csv", "a title above the header"),
        Case("comment.csv", "a comment above the header"),
        Case("zoho.csv", "contacts of Zoho CRM", f"--column receiver_number=Mobile {CRM}"),
        Case("exotel.csv", "a campaign of Exotel", f"--column receiver_number=number {CRM}"),
        Case("asterisk-cdr.csv", "call records of Asterisk, without a header"),
    ],
    "Numbers": [
        Case("num-ten.csv", "ten digits", INDIA),
        Case("num-0.csv", "a zero in front", INDIA),
        Case("num-00.csv", "00 in front", INDIA),
        Case("num-noplus.csv", "the country code without a plus", INDIA),
        Case("num-spaces.csv", "spaces between the digits", INDIA),
        Case("num-nbsp.csv", "no-break spaces between the digits", INDIA),
        Case("num-lead-nbsp.csv", "a no-break space in front"),
        Case("num-zwsp.csv", "a zero-width space in front", INDIA),
        Case("num-dash.csv", "a dash and a space", INDIA),
        Case("num-dotted.csv", "dots between the digits", INDIA),
        Case("num-paren.csv", "the country code in parentheses", INDIA),
        Case("num-tel.csv", "a tel: link", INDIA),
        Case("num-apostrophe.csv", "an apostrophe in front (text in a spreadsheet)"),
        Case("num-formula.csv", 'a formula, ="...", without quotes around it', INDIA),
        Case("num-excelstr.csv", 'a formula, ="..."', INDIA),
        Case("num-fullwidth.csv", "full-width digits", INDIA),
        Case("num-devanagari.csv", "Devanagari digits", INDIA),
        Case("num-thousands.csv", "separators of thousands"),
        Case("num-multi.csv", "two numbers in a cell"),
        Case("num-na.csv", "an error of a formula"),
        Case("num-blank.csv", "no number"),
        Case("all-nums.csv", "27 spellings in one list", INDIA),
    ],
    "Times": [
        Case("time-utc-z.csv", "ISO 8601 in UTC"),
        Case("time-offset-colonless.csv", "an offset without a colon"),
        Case("time-space-offset.csv", "a space before the offset"),
        Case("time-naive.csv", "no time zone", ZONE),
        Case("time-naive-space.csv", "no time zone, and a space before the time of day", ZONE),
        Case("time-ist.csv", "the abbreviation of a zone", f"{ZONE} --date-format '%Y-%m-%d %H:%M IST'"),
        Case(
            "time-zone-name.csv",
            "the name of a zone in brackets",
            f"{ZONE} --date-format '%Y-%m-%dT%H:%M:%S[Asia/Kolkata]'",
        ),
        Case("time-ddmm.csv", "the day first", f"{ZONE} --date-format '%d/%m/%Y %H:%M'"),
        Case("time-mmdd.csv", "the month first", f"{ZONE} --date-format '%m/%d/%Y %H:%M'"),
        Case("time-ddmm-ampm.csv", "the day first, with AM and PM", f"{ZONE} --date-format '%d/%m/%Y %I:%M %p'"),
        Case("time-date-only.csv", "dates without a time of day", OTHER_TIMES),
        Case("time-date-digits.csv", "dates in digits"),
        Case("time-end-time-only.csv", "an end without a date", OTHER_TIMES),
        Case("time-24h-plus.csv", "a window of more than 24 hours"),
        Case("time-epoch-ms.csv", "epoch milliseconds"),
        Case("time-float-ms.csv", "epoch milliseconds with .0 (pandas)"),
        Case("time-thousand-ms.csv", "epoch milliseconds with separators of thousands"),
        Case("time-epoch-s.csv", "epoch seconds", OTHER_TIMES),
        Case("time-epoch-us.csv", "epoch microseconds"),
        Case("all-times.csv", "23 spellings in one list", ZONE),
    ],
    "Labels, reasons and duplicates": [
        Case("no-label-col.csv", "no column for the label", "--label 'Flower shop'"),
        Case("label-wrong.csv", "a label that the account has not"),
        Case("reason-slash.csv", "a reason with characters that the API refuses"),
        Case("dup-rows.csv", "the same row three times"),
        Case("dup-rows-diffform.csv", "the same pair and window twice, with other reasons"),
    ],
}
ALL = [case for cases in CASES.values() for case in cases]


class _Bar:
    def at(self, done: int) -> None:
        """Show nothing."""


def _rules(options: str) -> RecordRules:
    """Read options as the command line does."""
    given: dict[str, Any] = {"columns": {}}
    words = iter(shlex.split(options))
    for word in words:
        name = word.removeprefix("--").replace("-", "_")
        if name == "ignore_extra":
            given[name] = True
        elif name == "column":
            field, _, column = next(words).partition("=")
            given["columns"][field] = column
        else:
            given[name] = next(words)
    return RecordRules(now=NOW, **given)


def _checked(file: str, options: str) -> Checked | str:
    """Check a list; return its message if it is of a kind that cannot be read."""
    try:
        with open_source(FOLDER / file, name=file) as source:
            return check(source, RowParser(_rules(options), LABELS), NOW, _Bar(), duplicates=True)
    except ConfigurationError as error:
        return str(error)


def _outcome(file: str, options: str) -> str:
    """Say in Markdown what becomes of a list."""
    checked = _checked(file, options)
    how = f"with `{options}`" if options else "as it is"
    if isinstance(checked, str):
        return f"refused: {_quoted(checked)}"
    problem = checked.problems[0] if checked.problems else None
    refusal = "" if problem is None else _quoted(f"line {problem.line}: {problem.fault}")
    valid = checked.records - checked.invalid
    if checked.unreadable or (checked.invalid and not valid):
        return f"refused: {refusal}"
    if checked.invalid:
        return f"{valid} of {checked.records} rows accepted {how}; the first other one: {refusal}"
    doubled = checked.duplicates[0] if checked.duplicates else 0
    return f"accepted {how}" + (f", with a warning: {doubled} more of the same pair and window" if doubled else "")


def _quoted(text: str) -> str:
    code = f"`` {text} ``" if "`" in text else f"`{text}`"
    return code.replace("|", "\\|")


_INTRODUCTION = (
    "Spreadsheets and CRMs write lists in many shapes. This page has what `truecaller-vbc calls push` does with each, "
    "as a test run found it: the list is accepted as it is, or with the options shown, or refused with the message "
    "shown. Nothing is sent while a list has a problem, unless `--skip-invalid` is given."
)
_SETTING = (
    "The lists were checked on 26 November 2026 for an account that has one label, Flower shop. "
    "`truecaller-vbc calls template` prints a list to start from."
)


def _page() -> str:
    lines = [
        "# What a call list may look like",
        "",
        _INTRODUCTION,
        "",
        _SETTING,
    ]
    for title, cases in CASES.items():
        lines += ["", f"## {title}", "", "| The list has | What becomes of it |", "|---|---|"]
        for case in cases:
            outcomes = [_outcome(case.file, ""), *([_outcome(case.file, case.options)] if case.options else [])]
            lines.append(f"| {case.shape} | {'<br>'.join(outcomes)} |")
    return "\n".join(lines) + "\n"


def test_every_list_is_in_the_table() -> None:
    """Each file has one case."""
    assert sorted(case.file for case in ALL) == sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("case", [case for case in ALL if case.options], ids=lambda case: case.file)
def test_options_help(case: Case) -> None:
    """A list that needs options has a problem without them, and fewer or none with them."""
    before, after = _checked(case.file, ""), _checked(case.file, case.options)

    assert isinstance(before, Checked)
    assert isinstance(after, Checked)
    assert before.invalid or before.unreadable
    assert not after.unreadable
    assert after.invalid < (before.invalid or after.records)
    if not case.file.startswith("all-"):
        assert after.invalid == 0


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.file)
def test_messages_say_what_to_do(case: Case) -> None:
    """No message has words of the library or escapes of escapes, and none offers a number that is not in the list."""
    checked = _checked(case.file, "")
    messages = [checked] if isinstance(checked, str) else [problem.fault for problem in checked.problems]
    for message in messages:
        for word in ("aware", "datetime", "tzinfo", "null", "None", "restval", "\\\\", "1 records"):
            assert word not in message
        if "write '+" in message:
            assert "write '+919999900001'" in message or "write '+911140000000'" in message


def test_page_is_what_a_run_gives() -> None:
    """docs/call-lists.md has what this version does."""
    if os.environ.get("TRUECALLER_VBC_WRITE_DOCS"):
        PAGE.write_text(_page(), "utf-8")

    assert PAGE.read_text("utf-8") == _page()
