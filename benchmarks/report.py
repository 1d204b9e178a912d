"""Rows for people, and for programs."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime

import aiohttp
import attrs
from rounds import Row


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


def page(rows: list[Row]) -> str:
    """A page of its own."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"# Ratios of one run\n\n{today}, {os.cpu_count()} cores, `python benchmarks/run.py`: {table(rows)}\n"


def as_json(rows: list[Row]) -> str:
    """The same as one JSON object."""
    facts = {"python": platform.python_version(), "aiohttp": aiohttp.__version__, "system": platform.system()}
    return json.dumps(facts | {"rows": [attrs.asdict(row) | {"met": row.met} for row in rows]}, indent=1)
