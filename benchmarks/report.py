"""Rows for people, and for programs."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
import attrs
from rounds import Row

RESULTS: Final = Path(__file__).with_name("results")


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, below a line that says on what they were measured."""
    lines = [
        f"CPython {platform.python_version()}, aiohttp {aiohttp.__version__}, {platform.system()}",
        "",
        "| benchmark | ours | beside it | ratio (median, range) | target | met? |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        sign = ">=" if row.at_least else "<="
        lines.append(
            f"| {row.name} | {row.ours:,.4g} {row.unit} | {row.beside:,.4g} {row.unit} "
            f"| {row.ratio:.2f} ({row.spread[0]:.2f} to {row.spread[1]:.2f}) | {sign} {row.target:g} "
            f"| {'yes' if row.met else 'NO'} |"
        )
    return "\n".join(lines)


def today() -> str:
    """As it is written on pages, and in their names."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def keep(name: str, page: str, out: Path = RESULTS) -> None:
    """Write a page of today into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{today()}-{name}.md").write_text(page)


def page(rows: list[Row]) -> str:
    """A page of its own."""
    return f"# Ratios of one run\n\n{today()}, {os.cpu_count()} cores, `python benchmarks/run.py`: {table(rows)}\n"


def as_json(rows: list[Row]) -> str:
    """The same as one JSON object."""
    facts = {"python": platform.python_version(), "aiohttp": aiohttp.__version__, "system": platform.system()}
    return json.dumps(facts | {"rows": [attrs.asdict(row) | {"met": row.met} for row in rows]}, indent=1)
