"""Read the time stamps of a server in headers and bodies. An invalid one gives None, never an error. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a ``Retry-After`` header (a number or an HTTP date); None if it is invalid.

    A date is relative to the server's own ``Date``. Zero and negative values are invalid, too: they would turn a wait
    into a busy loop.
    """
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        then = read_http_date(text)
        now = read_http_date(headers.get("Date", "")) or datetime.now(UTC)
        seconds = (then - now).total_seconds() if then else math.nan
    return seconds if 0 < seconds < math.inf else None


def read_http_date(text: str) -> datetime | None:
    """Read an HTTP date as an aware datetime."""
    try:
        stamp = parsedate_to_datetime(text)
        return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def read_timestamp(value: object) -> datetime | None:
    """Read an ISO 8601 time stamp as an aware datetime; without a zone it is UTC."""
    try:
        stamp = datetime.fromisoformat(value) if isinstance(value, str) else None
        if stamp is None:
            return None
        return stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
