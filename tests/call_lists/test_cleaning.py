"""Clean numbers and times, and say what is wrong with those that cannot be cleaned."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc.api.records import is_e164
from truecaller_vbc.call_lists.cleaning import RIGHT_TIME, Fault, NumberCleaner, TimeParser, resolve_window, text_of
from truecaller_vbc.errors import ConfigurationError

RIGHT = "+919999900001"
SPELLINGS = [
    "9999900001",
    "09999900001",
    "919999900001",
    "00919999900001",
    "91-99999 00001",
    "91.99999.00001",
    '="919999900001"',
    919999900001,
    9999900001,
]
WITH_PLUS = [
    "+91 99999 00001",
    "+91\xa099999\xa000001",
    "(+91) 9999900001",
    "tel:+919999900001",
    "p:+919999900001",
    "\u200b+919999900001",
    "\u202a+919999900001\u202c",
    "\uff0b\uff19\uff11\uff19\uff19\uff19\uff19\uff19\uff10\uff10\uff10\uff10\uff11",
    "+\u096f\u0967\u096f\u096f\u096f\u096f\u096f\u0966\u0966\u0966\u0966\u0967",
    "+91–99999–00001",  # noqa: RUF001 - dashes of a word processor
    "'+919999900001'",
]
DESTROYED = [
    ("9.19877E+11", "was rounded by a spreadsheet"),
    ("9,19877E+11", "was rounded by a spreadsheet"),
    ("9.2e11", "was rounded by a spreadsheet"),
    ("#######", "a column that is too narrow"),
    ("#N/A", "an error of a spreadsheet"),
    ("#REF!", "an error of a spreadsheet"),
    ("919876500001.0", "turned into a decimal number"),
    ("919,999,900,001", "separators between its digits"),
    ("91,99,99,00,001", "separators between its digits"),
    ("+919999900001,+919999900002", "more than one number"),
    ("+919999900001/+919999900002", "more than one number"),
    ("9999900001 / 9999900002", "more than one number"),
    ("+919999900001\n+919999900002", "more than one number"),
    ("+919999900001 ext 12", "is no phone number"),
    ("unknown", "is no phone number"),
    ("call +919999900001", "is no phone number"),
    (True, "must be a string"),
    (["+919999900001"], "must be a string"),
    (919876500001.5, "must be a string"),
]


@pytest.mark.parametrize("written", [RIGHT, f" {RIGHT}\xa0", f"'{RIGHT}", *WITH_PLUS, *SPELLINGS], ids=repr)
@pytest.mark.parametrize("country", ["IN", "in", "91", "+91"])
def test_number_of_a_named_country(written: Any, country: str) -> None:
    """With a country, each spelling of a number gives it in E.164."""
    assert NumberCleaner(country).clean(written) == RIGHT


@pytest.mark.parametrize("written", WITH_PLUS)
def test_number_with_a_plus(written: str) -> None:
    """Without a country, a number with a plus is refused, with the digits that were written after it."""
    fault = NumberCleaner().clean(written)

    assert isinstance(fault, Fault)
    assert f"write '{RIGHT}', or give country=IN" in fault


@pytest.mark.parametrize(
    "written", [*SPELLINGS, "+91 (0) 99999 00001", "9876500001", "6512345678", "7012345678"], ids=repr
)
def test_number_without_a_country_code(written: Any) -> None:
    """Without a country no number is offered that was not written, only what is missing and the option."""
    fault = NumberCleaner().clean(written)

    assert isinstance(fault, Fault)
    assert "country=IN (or yours)" in fault
    assert "write '" not in fault
    text = str(written)
    own = len(text) == 10 or text.startswith("09")
    assert ("the country code is missing" in fault) is own


@pytest.mark.parametrize(("written", "words"), DESTROYED, ids=repr)
@pytest.mark.parametrize("country", [None, "IN"])
def test_number_that_a_spreadsheet_destroyed(written: Any, words: str, country: str | None) -> None:
    """What is lost is named, with a country and without, and nothing is offered in its place."""
    fault = NumberCleaner(country).clean(written)

    assert isinstance(fault, Fault)
    assert words in fault
    assert "write '" not in fault


@pytest.mark.parametrize(
    "written", ["981230000", "12345", "+91981230000", "+919199990000000000", "919919999900001", "+999123456789", "0"]
)
def test_number_that_is_impossible(written: str) -> None:
    """With a country, a number that cannot exist there is a problem, also in E.164."""
    fault = NumberCleaner("IN").clean(written)

    assert isinstance(fault, Fault)
    assert f"'{written}' is impossible as a number of IN" in fault


def test_number_of_another_country() -> None:
    """A number with a plus keeps its own country."""
    assert NumberCleaner("IN").clean("+1 415 555 2671") == "+14155552671"
    assert NumberCleaner("US").clean("(415) 555-2671") == "+14155552671"
    assert NumberCleaner("IN").clean("9123456789") == "+919123456789"


@pytest.mark.parametrize(
    ("country", "words"),
    [("44", "of several countries: give two letters, GB say"), ("XX", "not known"), ("", "not known"), ("0", "known")],
)
def test_wrong_country(country: str, words: str) -> None:
    """A country that is unknown, or a code of several, is a wrong setting."""
    with pytest.raises(ConfigurationError, match=words):
        NumberCleaner(country)


def test_country_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install; without a country the package is not needed."""
    monkeypatch.setitem(sys.modules, "phonenumbers", None)

    assert NumberCleaner().clean(RIGHT) == RIGHT
    with pytest.raises(ConfigurationError, match=r"pip install 'truecaller_vbc\[cli\]'"):
        NumberCleaner("IN")


@pytest.mark.slow
@given(st.text(max_size=30) | st.text("+0123456789 ().-/eE'#=\"", max_size=30) | st.integers() | st.none())
def test_any_number(value: Any) -> None:
    """Anything gives E.164, a fault with a space in it, or None for a blank cell."""
    for country in (None, "IN"):
        result = NumberCleaner(country).clean(value)
        if isinstance(result, Fault):
            assert " " in result
            assert "\n" not in result
        else:
            assert result is None or is_e164(result)


def test_blank_cells_and_apostrophes() -> None:
    """A blank cell is None; the apostrophe that makes a formula text is dropped, others are kept."""
    assert [text_of(it) for it in ("", " \xa0", None)] == [None] * 3
    assert [text_of(it) for it in ("'+1", "'=a", "'-a", "'@a", "'a'", "'")] == ["+1", "=a", "-a", "@a", "'a'", "'"]
    assert text_of(5) == 5
    assert TimeParser().parse(" ") is None
    assert NumberCleaner("IN").clean("") is None


TEN = int(datetime(2026, 11, 27, 4, 30, tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    "written",
    [
        RIGHT_TIME,
        "2026-11-27T10:00:00+0530",
        "2026-11-27 10:00:00 +05:30",
        "2026-11-27 10:00+05:30",
        " 2026-11-27T04:30:00Z ",
        "2026-11-27T04:30:00.000+0000",
        "2026-11-27 04:30:00 Z",
        TEN,
        str(TEN),
        f"{TEN}.0",
        float(TEN),
        datetime(2026, 11, 27, 4, 30, tzinfo=UTC),
    ],
    ids=repr,
)
def test_time_with_a_zone(written: Any) -> None:
    """Times that say their zone, and epoch milliseconds, are understood with any options."""
    assert TimeParser().parse(written) == TEN
    assert TimeParser("Europe/Berlin", "%d-%m-%Y %H:%M").parse(written) == TEN


@pytest.mark.parametrize("written", ["2026-11-27T10:00:00", "2026-11-27 10:00", datetime(2026, 11, 27, 10)])  # noqa: DTZ001
def test_time_without_a_zone(written: Any) -> None:
    """A time without a zone needs a time zone."""
    fault = TimeParser().parse(written)

    assert TimeParser("Asia/Kolkata").parse(written) == TEN
    assert isinstance(fault, Fault)
    assert "has no time zone" in fault
    assert RIGHT_TIME in fault
    assert "timezone=Asia/Kolkata" in fault


@pytest.mark.parametrize(
    ("written", "date_format"),
    [
        ("27/11/2026 10:00", "%d/%m/%Y %H:%M"),
        ("27-11-2026 10:00", "%d-%m-%Y %H:%M"),
        ("27.11.26 10:00:00", "%d.%m.%y %H:%M:%S"),
        ("11/27/2026 10:00", "%m/%d/%Y %H:%M"),
        ("27/11/2026 10:00 AM", "%d/%m/%Y %I:%M %p"),
        ("27/11/2026 10:00am", "%d/%m/%Y %I:%M%p"),
    ],
)
def test_date_with_the_day_first(written: str, date_format: str) -> None:
    """Such a date is refused, with the format that would read it; with that format it is read."""
    fault = TimeParser("Asia/Kolkata").parse(written)

    assert isinstance(fault, Fault)
    assert f"write {RIGHT_TIME}, or give date_format='{date_format}' and timezone=" in fault
    assert TimeParser("Asia/Kolkata", date_format).parse(written) == TEN
    assert "has no time zone" in str(TimeParser(None, date_format).parse(written))
    assert "does not fit date_format=" in str(TimeParser("Asia/Kolkata", date_format).parse("2026-11-27 10:00"))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("1795753800", "in epoch seconds, not milliseconds"),
        (1795753800, "in epoch seconds, not milliseconds"),
        ("1795753800000000", "in epoch microseconds"),
        ("1795753800000000000", "in epoch nanoseconds"),
        ("20261127", "a date in digits"),
        ("20261127100000", "a date in digits"),
        ("2026-11-27", "has no time of day"),
        ("27/11/2026", "has no time of day"),
        (date(2026, 11, 27), "has no time of day"),
        ("18:00", "has no date"),
        ("6:00 PM", "has no date"),
        (time(18), "has no date"),
        ("46353.4166666667", "as Excel counts days"),
        (46353.4166666667, "as Excel counts days"),
        ("46353", "as Excel counts days"),
        ("1.79586E+12", "was rounded by a spreadsheet"),
        ("1,795,753,800,000", "separators between its digits"),
        ("########", "too narrow"),
        ("2026-11-27 10:00 IST", "names a zone"),
        ("2026-11-27T10:00:00[Asia/Kolkata]", "names a zone"),
        ("27 Nov 2026 10:00", "understood with a format only"),
        ("2026/11/27 10:00", "understood with a format only"),
        ("tomorrow", "is no time"),
        ("9" * 5000, "is no time"),
        ("2126-11-27T10:00:00", "has no time zone"),
        ("1926-11-27T10:00:00Z", "is too far away"),
        ("0001-01-01T00:00:00+23:00", "is too far away"),
        (True, "is no time"),
        ([1], "is no time"),
        (float("inf"), "is no time"),
    ],
    ids=lambda it: repr(it)[:40],
)
def test_time_that_is_refused(written: Any, words: str) -> None:
    """Each refusal says why, and shows a right time or what to do in the spreadsheet."""
    fault = TimeParser().parse(written)

    assert isinstance(fault, Fault)
    assert words in fault
    assert RIGHT_TIME in fault or "export again" in fault
    assert len(fault) < 400


def test_clocks_that_change() -> None:
    """A time that does not exist is refused; of two times the first is taken."""
    berlin = TimeParser("Europe/Berlin")

    assert "does not exist in Europe/Berlin" in str(berlin.parse("2026-03-29 02:30"))
    assert berlin.parse("2026-10-25 02:30") == berlin.parse("2026-10-25T02:30:00+02:00")
    assert berlin.seen == datetime.fromisoformat("2026-10-25T02:30:00+02:00").tzinfo


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("Asia/Calcuta",), "timezone='Asia/Calcuta' is not known: give a name such as Asia/Kolkata"),
        (("",), "timezone="),
        (("../etc/passwd",), "timezone="),
        (("Asia",), "timezone="),
        ((None, "%d-%m-%Y"), "has no hour"),
        ((None, "%Q %H"), "date_format='%Q %H' is wrong"),
    ],
)
def test_wrong_settings_of_times(options: Any, words: str) -> None:
    """An unknown zone, and a format that cannot work, are wrong settings."""
    with pytest.raises(ConfigurationError, match=words):
        TimeParser(*options)


NOON = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("day", "window", "zone", "opens", "closes"),
    [
        ("tomorrow", "10:00-18:00", "Asia/Kolkata", "2026-11-27T10:00+05:30", "2026-11-27T18:00+05:30"),
        ("Today", "9:30 - 10:00", "Asia/Kolkata", "2026-11-26T09:30+05:30", "2026-11-26T10:00+05:30"),
        ("today", "10:00-18:00", "Pacific/Kiritimati", "2026-11-27T10:00+14:00", "2026-11-27T18:00+14:00"),
        ("2026-12-01", "22:00-02:00", "Asia/Kolkata", "2026-12-01T22:00+05:30", "2026-12-02T02:00+05:30"),
        ("2026-12-01", "22:00-00:00", "UTC", "2026-12-01T22:00Z", "2026-12-02T00:00Z"),
        ("2026-10-24", "12:00-11:00", "Europe/Berlin", "2026-10-24T12:00+02:00", "2026-10-25T11:00+01:00"),
    ],
)
def test_window_on_a_day(day: str, window: str, zone: str, opens: str, closes: str) -> None:
    """A day is one of the zone named; a window over midnight closes on the next day."""
    found = resolve_window(day, window, ZoneInfo(zone), NOON)

    assert found == tuple(int(datetime.fromisoformat(it).timestamp() * 1000) for it in (opens, closes))


@pytest.mark.parametrize(
    ("day", "window", "words"),
    [
        ("27/11/2026", "10:00-18:00", "date='27/11/2026' is no date: give today, tomorrow or 2026-11-27"),
        ("yesterday", "10:00-18:00", "date="),
        ("today", "10-18", "window='10-18' is no window: give two times such as 10:00-18:00"),
        ("today", "10:00-24:00", "window="),
        ("today", "10:00-10:00", "window="),
        ("2026-03-29", "02:30-10:00", "date= and window=: .* does not exist in Europe/Berlin"),
    ],
)
def test_wrong_window(day: str, window: str, words: str) -> None:
    """The message names the option and shows a right value."""
    with pytest.raises(ConfigurationError, match=words):
        resolve_window(day, window, ZoneInfo("Europe/Berlin"), NOON)


@pytest.mark.slow
@given(
    st.text(max_size=30)
    | st.text("0123456789:-/. TZ+APM", max_size=30)
    | st.integers()
    | st.floats()
    | st.datetimes()
    | st.dates()
    | st.timedeltas(min_value=timedelta())
)
def test_any_time(value: Any) -> None:
    """Anything gives milliseconds, a fault in one line, or None for a blank cell."""
    for options in ((None, None), ("Asia/Kolkata", None), ("Europe/Berlin", "%d-%m-%Y %H:%M")):
        result = TimeParser(*options).parse(value)
        assert result is None or type(result) is int or (isinstance(result, Fault) and result.isprintable())
