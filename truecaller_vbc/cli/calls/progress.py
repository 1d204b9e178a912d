"""The bar of a push, on standard error, and only for people."""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType
from typing import Final, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..streams import is_terminal
from .journal import Totals

_PER_SECOND: Final = 4


class Bar:
    """A bar, or nothing where standard error is no terminal.

    Args:
        what: is being done.
        total: how many records there are; None if nobody knows yet.
    """

    def __init__(self, what: str, total: int | None) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        if is_terminal(sys.stderr):  # not rich's own judgement, which FORCE_COLOR makes true of a pipe
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
                refresh_per_second=_PER_SECOND,
                transient=True,
            )
            self._task = self._progress.add_task(what, total=total, note="")

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def at(self, done: int, note: str = "") -> None:
        """So many are done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, note=note)

    def show(self, totals: Totals) -> None:
        """Where a push is."""
        done = totals.acknowledged + totals.refused + totals.unknown + totals.invalid
        wrong = [f"{count:,} {name}" for name in ("refused", "invalid") if (count := getattr(totals, name))]
        self.at(done, ", ".join(wrong))

    def say(self, line: str) -> None:
        """A line on standard error, above the bar if there is one. That nobody reads it any more ends nothing."""
        with contextlib.suppress(OSError):
            if self._progress is not None:
                self._progress.console.print(line, markup=False, highlight=False)
            else:
                typer.echo(line, err=True)

    def stop(self) -> None:
        """Take it off the terminal, and bring the cursor back."""
        if self._progress is not None:
            self._progress.stop()
