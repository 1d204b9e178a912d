"""Show what would be sent, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo

import attrs

from ...api.foreign_text import plain
from ...api.records import CallRecord
from ...call_lists import Checked, Source, checking
from ...call_lists.checking import Counted, Progress
from ..output import count_of
from .list_options import RowParser, in_options


def check(source: Source, parser: RowParser, now: float, bar: Progress, *, duplicates: bool = False) -> Checked:
    """Check every record at `now` (seconds since 1970); look for duplicates if asked."""
    checked = checking.check(source, parser, now, bar, duplicates=duplicates)
    checked.problems = [attrs.evolve(it, fault=in_options(it.fault)) for it in checked.problems]
    return checked


def preview(
    checked: Checked, *, unit: str = "line", batch: int = 500, rate: float = 60, labels: Mapping[str, str] | None = None
) -> list[str]:
    """Return lines that show people what would be sent, and what is wrong.

    Args:
        checked: what was found.
        unit: what the number of a row counts; see `Source.unit`.
        batch: most records in a batch.
        rate: batches a minute.
        labels: names of labels by ID, to show them.
    """
    valid = checked.records - checked.invalid
    lines = [f"{count_of(checked.records, 'record')}: {valid:,} valid, {checked.invalid:,} invalid"]
    if checked.first:
        lines.append("the first of them, as they will be sent:")
        lines += [f"  {_in_words(*first, checked.zone, labels or {})}" for first in checked.first]
    if valid:
        batches = -(-valid // batch)
        lines.append(f"{count_of(batches, 'batch', 'batches')}, {_minutes(batches, rate)} at {rate:g} a minute")
    if checked.duplicates is not None and checked.duplicates[0]:
        lines.append(f"warning: the same pair and an overlapping window as before: {where(checked.duplicates, unit)}")
    lines += [f"warning: {what}: {where(counted, unit)}" for what, counted in checked.warnings.items()]
    lines += [f"{reason}: {where(counted, unit)}" for reason, counted in checked.reasons.items()]
    return [*lines, *(f"{unit} {it.line}: {it.fault}" for it in checked.problems[-1:] if checked.unreadable)]


def _in_words(record: CallRecord, given: str, zone: tzinfo, labels: Mapping[str, str]) -> str:
    starts = datetime.fromtimestamp(record.starts_at / 1000, zone)
    ends = datetime.fromtimestamp(record.ends_at / 1000, zone)
    until = f"{ends:%H:%M}" if ends.date() == starts.date() else f"{ends:%a %d %b %H:%M}"
    texts = [f"{record.caller_number} calls {record.receiver_number}, {starts:%a %d %b %Y %H:%M} to {until} ({zone})"]
    label = labels.get(given, given)
    texts.append(f'label "{plain(label, 40)}"' if label else "without a label")
    if record.dynamic_label_name is not None:
        texts.append(f'shown as "{plain(record.dynamic_label_name)}"')
    if record.dynamic_call_reason is not None:
        texts.append(f'reason "{plain(record.dynamic_call_reason)}"')
    return ", ".join(texts)


def where(counted: Counted, unit: str) -> str:
    """Return how many records, and the first of them."""
    count, lines = counted
    numbers = ", ".join(map(str, lines)) + (", …" if count > len(lines) else "")
    named = f", {unit}{'' if count == 1 else 's'} {numbers}" if lines else ""
    return f"{count_of(count, 'record')}{named}"


def _minutes(batches: int, rate: float) -> str:
    # The first minute's batches leave at once.
    minutes = int((batches - 1) // rate)
    return f"about {count_of(minutes, 'minute')}" if minutes else "a few seconds"


def template(now: float, zone: tzinfo) -> str:
    """Return a CSV file to start from, with two records for tomorrow."""
    day = datetime.fromtimestamp(now, zone) + timedelta(days=1)
    starts = day.replace(hour=10, minute=0, second=0, microsecond=0)
    window = f"{starts.isoformat()},{starts.replace(hour=18).isoformat()}"
    return (
        "caller_number,receiver_number,starts_at,ends_at,label_id,dynamic_call_reason\n"
        f"+911234567890,+919812300001,{window},NAME OR ID OF A LABEL,Delivery of your parcel\n"
        f"+911234567890,+919812300002,{window},NAME OR ID OF A LABEL,Delivery of your parcel\n"
    )
