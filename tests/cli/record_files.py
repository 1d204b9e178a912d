"""Write files of records, and read the results."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter
from pathlib import Path

LABEL = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
CALLER = "+911234567890"
HEADER = "caller_number,receiver_number,starts_at,ends_at,label_id"
HOUR = 60 * 60 * 1000


def number(position: int) -> str:
    """Return a receiver number that the sandbox accepts."""
    return f"+9198{position:07d}9"


def line(position: int, *, label: str = LABEL, ends_in: int = HOUR) -> str:
    """Return one record as a CSV line."""
    now = int(time.time() * 1000)
    return f"{CALLER},{number(position)},{now - HOUR},{now + ends_in},{label}"


def write_csv(path: Path, lines: list[str] | int) -> Path:
    """Write a CSV file with these lines, or with this number of valid records."""
    lines = [line(position) for position in range(lines)] if isinstance(lines, int) else lines
    path.write_text("\n".join([HEADER, *lines, ""]))
    return path


def write_jsonl(path: Path, records: int) -> Path:
    """Write a file of this number of valid records as JSON lines."""
    names = HEADER.split(",")
    rows = [dict(zip(names, line(position).split(","), strict=True)) for position in range(records)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_results(path: Path) -> list[dict[str, str]]:
    """Return the rows of a results file in CSV."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def outcomes(path: Path) -> Counter[str]:
    """Count the records of each outcome."""
    return Counter(row["outcome"] for row in read_results(path))


def accepted_once(results: list[dict[str, str]], accepted: Counter[int]) -> None:
    """Check that no record was accepted twice, and that each outcome is true."""
    assert not [receiver for receiver, times in accepted.items() if times > 1]
    for row in results:
        if not row["receiver_number"].removeprefix("+").isdecimal():
            assert row["outcome"] == "invalid", row
            continue
        times = accepted[int(row["receiver_number"])]
        if row["outcome"] == "acknowledged":
            assert times == 1, row
        elif row["outcome"] in ("unsent", "invalid", "refused"):
            assert times == 0, row
