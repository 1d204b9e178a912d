"""Print tables for people and JSON for machines, on streams that may be closed."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO, Final, TextIO

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ..api.foreign_text import plain
from ..errors import ConfigurationError


def standard_input() -> BinaryIO:
    """Return standard input as a binary stream.

    Raises:
        ConfigurationError: standard input is closed, as for some daemons.
    """
    return _binary(sys.stdin, "there is no standard input to read - from: give a FILE")


def standard_output() -> BinaryIO:
    """Return standard output as a binary stream.

    Raises:
        ConfigurationError: standard output is closed.
    """
    return _binary(sys.stdout, "there is no standard output: name a file with --output")


def _binary(stream: TextIO | None, problem: str) -> BinaryIO:
    if stream is None:
        raise ConfigurationError(problem)
    return stream.buffer


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal. It is None for some daemons."""
    return stream is not None and stream.isatty()


@contextlib.contextmanager
def tolerate_broken_pipe() -> Generator[None]:
    """Ignore a closed stdout or stderr inside the block, so that the exit code stays the same."""
    try:
        yield
    except BrokenPipeError:
        pass  # for example ``| head``
    except OSError as error:
        with contextlib.suppress(OSError):
            typer.echo(f"error: how it ended cannot be printed ({error.strerror})", err=True)
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            try:
                stream.flush()
            except OSError:  # redirect it, so that Python's own flush at exit does not fail
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def count_of(count: int, one: str, many: str = "") -> str:
    """Return a count and what it counts, such as ``1 record`` and ``1,200 records``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def print_json(document: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(document, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value.to_dict()


def print_all(found: Sequence[Any], columns: Mapping[str, str], *, as_json: bool) -> None:
    """Print objects as JSON, or as a table.

    Args:
        found: instances of an attrs class.
        columns: their attributes by the name of the column.
        as_json: which of them.
    """
    if as_json:
        print_json(found)
    else:
        print_table([*columns], [[getattr(it, name) for name in columns.values()] for it in found])


_WIDE: Final = 100_000
_NARROWEST: Final = 10


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; without escape codes if NO_COLOR is set. Foreign text is made without_formula."""
    to_people = is_terminal(sys.stdout)  # rich's own is_terminal is also true for a pipe when FORCE_COLOR is set
    cells = [[_cell(value) for value in row] for row in rows]
    if to_people:
        console = Console(color_system=None if os.environ.get("NO_COLOR") else "auto")
    else:
        console = Console(force_terminal=False, color_system=None, width=_WIDE)
    # The first column is what people copy, so the others give way, and it is folded only on a narrower terminal.
    first = max((len(row[0]) for row in cells), default=0)
    if first + _NARROWEST * (len(columns) - 1) > console.width:
        _print_blocks(console, columns, cells)
        return
    copied = Column(columns[0], min_width=first, no_wrap=True, overflow="fold")
    table = Table(copied, *columns[1:], box=box.SIMPLE_HEAD if to_people else None, pad_edge=False)
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_blocks(console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a row as one line for its first cell, and one for each other cell."""
    for row in rows:
        console.print(Text(row[0], style="bold", overflow="fold"))
        for name, cell in zip(columns[1:], row[1:], strict=True):
            console.print(Text(f"  {name}: {cell}", overflow="fold"))


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return plain(value)
