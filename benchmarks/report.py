"""Format rows as Markdown or JSON, and write dated result pages."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
import attrs

from .rounds import Row

RESULTS: Final = Path(__file__).with_name("results")


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table, after a line with the versions."""
    lines = [
        f"CPython {platform.python_version()}, aiohttp {aiohttp.__version__}, {platform.system()}",
        "",
        "| benchmark | ours | baseline | ratio (median, range) | target | met? |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        sign = ">=" if row.at_least else "<="
        lines.append(
            f"| {row.name} | {row.ours:,.4g} {row.unit} | {row.baseline:,.4g} {row.unit} "
            f"| {row.ratio:.2f} ({row.spread[0]:.2f} to {row.spread[1]:.2f}) | {sign} {row.target:g} "
            f"| {'yes' if row.met else 'NO'} |"
        )
    return "\n".join(lines)


def as_json(rows: list[Row]) -> str:
    """Return the rows and the versions as one JSON object."""
    versions = {"python": platform.python_version(), "aiohttp": aiohttp.__version__, "system": platform.system()}
    return json.dumps(versions | {"rows": [attrs.asdict(row) | {"met": row.met} for row in rows]}, indent=1)


def speed_page(rows: list[Row]) -> str:
    """Return the page of a whole run."""
    return f"# Ratios of one run\n\n{today()}, {os.cpu_count()} cores, `python benchmarks/run.py`: {table(rows)}\n"


def today() -> str:
    """Return the date (UTC) in the form that pages and file names use."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def write_page(name: str, page: str, folder: Path = RESULTS) -> None:
    """Write a Markdown page with today's date in its name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{today()}-{name}.md").write_text(page)
