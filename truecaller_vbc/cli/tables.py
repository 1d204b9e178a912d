"""Tables for people: drawn on a terminal, plain and never cut off elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .streams import is_terminal
from .text import plain

_WIDE: Final = 100_000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """On standard output; with NO_COLOR, without any escape codes. Foreign text in it is shown, not obeyed."""
    to_people = is_terminal(sys.stdout)  # not rich's own judgement, which FORCE_COLOR makes true of a pipe
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
