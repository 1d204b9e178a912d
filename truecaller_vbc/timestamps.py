"""The times that a server writes, in headers and in bodies. What is no time is None, never an error. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from aiohttp import hdrs


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that ``Retry-After`` asks for, given as seconds or as an HTTP date; None if it is nonsense.

    A date is taken relative to the server's own ``Date``. Nothing and less than nothing are nonsense, too: they
    would make a loop out of a wait.
    """
    text = headers.get(hdrs.RETRY_AFTER, "").strip()
    try:
        seconds = float(text)
    except ValueError:
        then = read_http_date(text)
        now = read_http_date(headers.get(hdrs.DATE, "")) or datetime.now(UTC)
        seconds = (then - now).total_seconds() if then else math.nan
    return seconds if 0 < seconds < math.inf else None


def read_http_date(text: str) -> datetime | None:
    """An HTTP date, aware."""
    try:
        stamp = parsedate_to_datetime(text)
        return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def read_timestamp(value: object) -> datetime | None:
    """An ISO 8601 stamp, aware; without a zone it is taken as UTC."""
    try:
        stamp = datetime.fromisoformat(value) if isinstance(value, str) else None
        if stamp is None:
            return None
        return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
