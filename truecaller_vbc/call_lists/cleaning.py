"""Clean the numbers and times of a call list, and say in the words of a desk what is wrong with them."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from ..api.foreign_text import plain
from ..api.records import is_e164, number_problem
from ..errors import ConfigurationError

RIGHT_TIME: Final = "2026-11-27T10:00:00+05:30"
"""A time that is right, for messages."""


class Fault(str):
    """Describe what is wrong with a value, in its place. It has a space, so it is never a valid value itself."""

    __slots__ = ()


def quoted(value: object) -> str:
    """Return a value for a message: in one line, shortened, in quotes."""
    shown = plain(value, 40)
    return f'"{shown}"' if "'" in shown else f"'{shown}'"


def text_of(value: object) -> Any:
    """Return text without blanks around it, and without the apostrophe that makes a formula text; None if blank."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return (text[1:] if text[:1] == "'" and text[1:2] in tuple("=+-@") else text) or None


_ERRORS: Final = "is an error of a spreadsheet, not a value: correct its formula, and export again"
_AS_TEXT: Final = "give the column the format Text, enter the numbers again, and export again"
_DESTROYED: Final = (
    (re.compile(r"[+-]?\d+([.,]\d+)?E[+-]?\d+", re.IGNORECASE), f"was rounded by a spreadsheet: {_AS_TEXT}"),
    (re.compile(r"#+"), "is what a spreadsheet shows for a column that is too narrow: widen it, and export again"),
    (re.compile(r"#[A-Z/0!?]+", re.IGNORECASE), _ERRORS),
    (re.compile(r"\+?\d+\.0+"), f"was turned into a decimal number by a spreadsheet: {_AS_TEXT}"),
    (re.compile(r"\d{1,3}(,\d{2,3})+"), f"was written with separators between its digits: {_AS_TEXT}"),
)
_DECORATED: Final = re.compile(r"[ ().-]*\+?[ ().-]*[0-9][0-9 ().-]*")
_SCHEME: Final = re.compile(r"(?:tel|p):", re.IGNORECASE)
_FORMULA: Final = re.compile(r'="([^"]*)"')
_OWN_DIGITS: Final = 10
_SEVERAL: Final = re.compile(r"\+.*\+|\d{6,}.*[/,;&|].*\d{6,}|\n", re.DOTALL)


class NumberCleaner:
    """Turn numbers as people and spreadsheets write them into E.164; complete them only for a named country.

    Args:
        country: two letters such as IN, or its calling code such as 91; None to take numbers as they are.

    Raises:
        ConfigurationError: the country is unknown, or phonenumberslite is not installed.
    """

    def __init__(self, country: str | None = None) -> None:
        self.region: str | None = None
        if country is None:
            return
        try:
            import phonenumbers  # noqa: PLC0415 - an extra, and 20 ms
        except ImportError:
            raise ConfigurationError("country= needs one more package: pip install 'truecaller_vbc[cli]'") from None
        self._library = phonenumbers
        code = country.strip().lstrip("+").upper()
        regions = phonenumbers.region_codes_for_country_code(int(code)) if code.isdecimal() else (code,)
        if len(regions) > 1:
            raise ConfigurationError(f"country={country} is of several countries: give two letters, {regions[0]} say")
        if not regions or regions[0] not in phonenumbers.SUPPORTED_REGIONS:
            raise ConfigurationError(f"country={quoted(country)} is not known: give two letters such as IN")
        self.region = regions[0]

    def clean(self, value: object) -> str | None:
        """Return the number in E.164, or the fault; None if it is blank."""
        if self.region is None and isinstance(value, str) and is_e164(value):
            return value
        text = text_of(str(value) if type(value) is int else value)
        if not isinstance(text, str):
            return None if text is None else Fault(number_problem(text))
        if fault := next((words for pattern, words in _DESTROYED if pattern.fullmatch(text)), ""):
            return Fault(f"{quoted(text)} {fault}")
        digits = _undecorated(text)
        if digits is None:
            what = "is more than one number: write one in each row" if _SEVERAL.search(text) else "is no phone number"
            return Fault(f"{quoted(text)} {what}")
        if self.region is not None:
            return self._completed(text, digits)
        return text if is_e164(text) else _advice(text, digits)

    def _completed(self, text: str, digits: str) -> str:
        library = self._library
        try:
            number = library.parse(digits, self.region)
        except library.NumberParseException:
            number = None
        # The one way to take a number that the library does not know yet: as it is, without a country.
        if number is None or not library.is_valid_number(number) or number.extension:
            return Fault(f"{quoted(text)} is impossible as a number of {self.region}, or of the country it names")
        return str(library.format_number(number, library.PhoneNumberFormat.E164))


def _undecorated(text: str) -> str | None:
    """Return a number with only digits, a plus and separators; None if it has anything else."""
    if (formula := _FORMULA.fullmatch(text)) is not None:
        text = formula[1]
    text = unicodedata.normalize("NFKC", _SCHEME.sub("", text, count=1))
    kept = (
        str(unicodedata.decimal(it)) if it.isdecimal() else "-" if unicodedata.category(it) == "Pd" else it
        for it in text
        if unicodedata.category(it) != "Cf"
    )
    text = "".join(kept).strip(" '\t\xa0")
    return text if _DECORATED.fullmatch(text) else None


def _advice(text: str, number: str) -> Fault:
    """Say how to write a number; never with digits that were not written after a plus."""
    digits = re.sub(r"\D", "", number)
    if "+" in number and "(0)" not in number and is_e164(f"+{digits}"):
        return Fault(f"{quoted(text)} is not in E.164: write '+{digits}', or give country=IN (or yours)")
    if "+" in number:
        what = "7 to 15 digits are needed after the plus, without (0)"
    elif len(digits) == _OWN_DIGITS or (digits.startswith("0") and not digits.startswith("00")):
        what = "the country code is missing"
    else:
        what = "a plus and the country code are needed"
    return Fault(f"{quoted(text)} is not in E.164, {what}: give country=IN (or yours), or write it with +")


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS: Final = range(2000, 2200)
_MS: Final = timedelta(milliseconds=1)
_FIRST: Final = 946_684_800  # the year 2000 in seconds
_LAST: Final = 7_258_118_400  # the year 2200
_UNITS: Final = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
_WRITE: Final = f"write {RIGHT_TIME}"
_NUMERIC: Final = re.compile(
    r"\d{1,2}(?P<mark>[-/.])(?P<second>\d{1,2})(?P=mark)(?P<year>\d{4}|\d{2})"
    r"(?: +\d{1,2}(?P<minutes>:\d\d)(?P<seconds>:\d\d)?(?P<half> ?[AaPp][Mm])?)?"
)
_WORDED: Final = re.compile(r"\d{1,2}[-/. ][A-Za-z]{3,9}[-/., ]+\d{2,4}\b.*|\d{4}[/.]\d{1,2}[/.]\d{1,2}\b.*")
_CLOCK: Final = re.compile(r"\d{1,2}([:.]\d{2}){1,2}(\s*[ap]m)?", re.IGNORECASE)
_ZONE_NAME: Final = re.compile(r".*\d\s*(\[[\w/+-]+\]|[A-Z]{2,5})")
_SPACED_OFFSET: Final = re.compile(r"\s+(?=[+-]\d\d:?\d\d$|Z$)")
_WHOLE: Final = re.compile(r"(\d{9,})\.0+")
_DATE_DIGITS: Final = re.compile(r"20\d\d(0[1-9]|1[0-2])[0-3]\d([0-2]\d[0-5]\d([0-5]\d)?)?")
_HOUR: Final = re.compile(r"%[HIcXTR]")
_SERIAL: Final = re.compile(r"[3-9]\d{4}(\.\d+)?|10\d{4}(\.\d+)?")  # days since 1900


class TimeParser:
    """Turn times as people and spreadsheets write them into epoch milliseconds.

    Args:
        zone: name of the time zone of times without one; None to refuse these.
        date_format: how dates are written, as for strptime; ISO 8601 with a zone is always understood.

    Attributes:
        zone: the time zone, or None.
        seen: the zone of the first time that named its own.

    Raises:
        ConfigurationError: the zone is unknown, or the format is wrong.
    """

    def __init__(self, zone: str | None = None, date_format: str | None = None) -> None:
        self.zone: ZoneInfo | None = None if zone is None else _zone(zone)
        self.seen: tzinfo | None = None
        self._format = date_format
        if date_format is not None:
            _check_format(date_format)

    def parse(self, value: object) -> int | Fault | None:
        """Return epoch milliseconds, or the fault; None if it is blank."""
        value = given = text_of(value)
        if isinstance(value, str):
            value = self._from_text(value)
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, datetime):
            return self._in_zone(value, given)
        if type(value) is int:
            return _checked_ms(value)
        if value is None or isinstance(value, Fault):
            return value
        return Fault(f"{quoted(given)} {_what_it_is(str(value))}")

    def _from_text(self, text: str) -> int | datetime | Fault:
        if self._format is not None:
            with contextlib.suppress(ValueError):
                return datetime.strptime(text, self._format)  # noqa: DTZ007 - _in_zone sees to the zone
        if text.isascii() and (text.isdecimal() or _WHOLE.fullmatch(text)):
            return int(text.partition(".")[0][:30])
        if ":" in text or "T" in text:
            with contextlib.suppress(ValueError):
                parsed = datetime.fromisoformat(_SPACED_OFFSET.sub("", text))
                if self._format is None or parsed.tzinfo is not None:
                    return parsed
        if self._format is not None:
            return Fault(f"{quoted(text)} does not fit date_format={quoted(self._format)}: correct one of them")
        return Fault(f"{quoted(text)} {_what_it_is(text)}")

    def _in_zone(self, value: datetime, given: object) -> int | Fault:
        if value.tzinfo is None:
            if self.zone is None:
                return Fault(f"{quoted(given)} has no time zone: {_WRITE}, or give timezone=Asia/Kolkata (or yours)")
            local = value.replace(tzinfo=self.zone)
            if local.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) != value:
                return Fault(f"{quoted(given)} does not exist in {self.zone}, where clocks go forward then")
            value = local
        elif self.seen is None:
            self.seen = timezone(value.utcoffset() or timedelta())
        return (value - _EPOCH) // _MS if value.year in _YEARS else Fault(f"{quoted(given)} is too far away: {_WRITE}")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # not found, a folder of zones, or no name at all
        raise ConfigurationError(
            f"timezone={quoted(name)} is not known: give a name such as Asia/Kolkata (or: pip install tzdata)"
        ) from None


def _check_format(date_format: str) -> None:
    example = datetime(2026, 11, 27, 10, tzinfo=UTC)
    try:
        datetime.strptime(example.strftime(date_format), date_format)  # noqa: DTZ007 - only tried
    except ValueError as error:
        raise ConfigurationError(f"date_format={quoted(date_format)} is wrong ({plain(error, 80)})") from None
    if not _HOUR.search(date_format):
        raise ConfigurationError(
            f"date_format={quoted(date_format)} has no hour: it must be for date and time, '%d-%m-%Y %H:%M' say"
        )


def _checked_ms(value: int) -> int | Fault:
    for unit, per_second in _UNITS.items():
        if value in range(_FIRST * per_second, _LAST * per_second):
            if unit == "milliseconds":
                return value
            return Fault(f"{quoted(value)} is in epoch {unit}, not milliseconds: {_WRITE}")
    text = str(value)[:30]
    if _DATE_DIGITS.fullmatch(text):
        return Fault(f"{quoted(text)} is a date in digits: {_WRITE}, or give date_format='%Y%m%d%H%M' and timezone=")
    return Fault(f"{quoted(text)} {_what_it_is(text)}")


def _what_it_is(text: str) -> str:
    """Say why text is not understood as a time, and what to do."""
    if (numeric := _NUMERIC.fullmatch(text)) and numeric["minutes"]:
        return f"is understood with a format only: {_WRITE}, or give date_format='{_format(numeric)}' and timezone="
    return next((words for pattern, words in _TIMES if pattern.fullmatch(text)), f"is no time: {_WRITE}")


def _format(found: re.Match[str]) -> str:
    """Return the format of a date that is written with numbers: day first, unless that is impossible."""
    days = ("%m", "%d") if int(found["second"]) > _MONTHS else ("%d", "%m")
    date_format = found["mark"].join((*days, "%Y" if len(found["year"]) > _SHORT_YEAR else "%y"))
    clock = ("%I:%M" if found["half"] else "%H:%M") + (":%S" if found["seconds"] else "")
    return f"{date_format} {clock}{(found['half'] or '')[:-2]}{'%p' if found['half'] else ''}"


_MONTHS: Final = 12
_SHORT_YEAR: Final = 2
_NO_CLOCK: Final = f"has no time of day: {_WRITE}, or give date= and window= instead of the column"
_TIMES: Final = (
    *_DESTROYED,
    (_WORDED, f"is understood with a format only: {_WRITE}, or give date_format='%d %b %Y %H:%M' and timezone="),
    (_CLOCK, f"has no date: {_WRITE}, or give date= and window= instead of the column"),
    (_SERIAL, "is a date as Excel counts days: give the column a date format, and export again"),
    (_ZONE_NAME, f"names a zone: {_WRITE}, or leave the zone out and give timezone=Asia/Kolkata"),
    (re.compile(r"\d{4}-\d\d-\d\d"), _NO_CLOCK),
    (_NUMERIC, _NO_CLOCK),
)


_WINDOW: Final = re.compile(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)\s*")


def resolve_window(day: str, window: str, zone: ZoneInfo, now: float) -> tuple[int, int]:
    """Return when a window such as 10:00-18:00 opens and closes on a day, in epoch milliseconds.

    A window over midnight closes on the next day.

    Args:
        day: today, tomorrow, or a date such as 2026-11-27.
        window: two times of day.
        zone: where these are meant.
        now: seconds since 1970.

    Raises:
        ConfigurationError: one of them is wrong.
    """
    today = datetime.fromtimestamp(now, zone).date()
    try:
        known = {"today": today, "tomorrow": today + timedelta(days=1)}
        opens_on = known.get(day.strip().casefold()) or date.fromisoformat(day.strip())
    except ValueError:
        raise ConfigurationError(f"date={quoted(day)} is no date: give today, tomorrow or 2026-11-27") from None
    found = _WINDOW.fullmatch(window)
    hours = [0] * 4 if found is None else [int(digits) for digits in found.groups()]
    opens, closes = time(hours[0], hours[1]), time(hours[2], hours[3])
    if opens == closes:
        raise ConfigurationError(f"window={quoted(window)} is no window: give two times such as 10:00-18:00")
    closes_on = opens_on if closes > opens else opens_on + timedelta(days=1)
    times = TimeParser(str(zone))
    results: list[int] = []
    for moment in (datetime.combine(opens_on, opens), datetime.combine(closes_on, closes)):
        if not isinstance(result := times.parse(moment), int):
            raise ConfigurationError(f"date= and window=: {result}")
        results.append(result)
    return results[0], results[1]
