"""Valid and invalid time stamps of a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from truecaller_vbc.timestamps import read_http_date, read_retry_after, read_timestamp

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("date", [None, "", "noon"])
def test_retry_after_as_a_date_where_there_is_no_date_to_compare(date: str | None) -> None:
    """Without a Date header, `Retry-After` as a date is relative to our clock."""
    then = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    wait = read_retry_after({"Retry-After": then} | ({} if date is None else {"Date": date}))

    assert wait is not None
    assert 500 < wait < 601


@pytest.mark.parametrize("seconds", [0, -1, -3600])
def test_retry_after_that_has_come_already(seconds: int) -> None:
    """An invalid, zero or negative `Retry-After` is ignored."""
    headers = {"Retry-After": format_datetime(NOON + timedelta(seconds=seconds)), "Date": format_datetime(NOON)}

    assert read_retry_after(headers) is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("Sun, 01 Mar 2026 12:00:00 GMT", NOON),
        ("Sun, 01 Mar 2026 12:00:00 -0000", NOON),
        ("Sun, 01 Mar 2026 12:00:00", NOON),
        ("Sun, 01 Mar 2026 17:30:00 +0530", NOON),
        ("Sunday, 01-Mar-26 12:00:00 GMT", NOON),
        ("Sun Mar  1 12:00:00 2026", NOON),
        ("", None),
        ("Sun", None),
        ("Sun, 99 Mar 2026 12:00:00 GMT", None),
        ("Sun, 01 Mar 99999999999999999999 12:00:00 GMT", None),
        ("Sun, 01 Mar 2026 12:00:00 +999999999999", None),
        ("2026-03-01T12:00:00Z", None),
    ],
)
def test_http_date(text: str, at: datetime | None) -> None:
    """HTTP dates are read in all three forms, as aware datetimes; without a zone they are GMT."""
    assert read_http_date(text) == at


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("2026-03-01T12:00:00Z", NOON),
        ("2026-03-01T12:00:00", NOON),
        ("2026-03-01T17:30:00+05:30", NOON),
        ("2026-03-01T12:00:00.000000123Z", NOON),
        ("0001-01-01T00:00:00+05:30", None),
        ("9999-12-31T23:59:59-05:30", None),
        ("", None),
        ("noon", None),
        (None, None),
        (1772366400, None),
        (["2026-03-01T12:00:00Z"], None),
    ],
)
def test_timestamp(value: object, at: datetime | None) -> None:
    """A time stamp without a zone is UTC; one outside the calendar after conversion to UTC is invalid."""
    stamp = read_timestamp(value)

    assert stamp == at
    assert stamp is None or stamp.tzinfo is UTC
