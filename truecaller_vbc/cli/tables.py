"""Print tables for people and JSON for machines, with foreign text made without_formula."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, cast

import attrs
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .streams import is_terminal

_MOST: Final = 300


def plain(value: object, most: int = _MOST) -> str:
    """Return text in one line of at most `most` characters, with unprintable characters escaped."""
    text = str(value)
    if len(text) > most:
        text = text[: most - 1] + "…"
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def print_json(document: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(document, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(cast(frozenset[str], value))
    return attrs.asdict(value, recurse=False)


_WIDE: Final = 100_000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; without escape codes if NO_COLOR is set. Foreign text is made without_formula."""
    to_people = is_terminal(sys.stdout)  # rich's own is_terminal is also true for a pipe when FORCE_COLOR is set
    table = Table(*columns, box=box.SIMPLE_HEAD if to_people else None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    if to_people:
        Console(color_system=None if os.environ.get("NO_COLOR") else "auto").print(table)
    else:
        Console(force_terminal=False, color_system=None, width=_WIDE).print(table)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return plain(value)
