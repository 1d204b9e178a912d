"""Show a progress bar on standard error, if it is a terminal."""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType
from typing import Final, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..output import is_terminal
from .journal import Totals

_PER_SECOND: Final = 4


class Bar:
    """Show a bar, or nothing where standard error is not a terminal.

    Args:
        what: name of the activity.
        total: number of records; None if not known yet.
    """

    def __init__(self, what: str, total: int | None) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        if is_terminal(sys.stderr):  # rich's own is_terminal is also true for a pipe when FORCE_COLOR is set
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
        """Set how many records are done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, note=note)

    def show(self, totals: Totals) -> None:
        """Show the progress of a push."""
        done = totals.acknowledged + totals.refused + totals.unknown + totals.invalid
        wrong = [f"{count:,} {name}" for name in ("refused", "invalid") if (count := getattr(totals, name))]
        self.at(done, ", ".join(wrong))

    def say(self, line: str) -> None:
        """Print a line on standard error, above the bar if there is one. Ignore a closed stream."""
        with contextlib.suppress(OSError):
            if self._progress is not None:
                self._progress.console.print(line, markup=False, highlight=False)
            else:
                typer.echo(line, err=True)

    def stop(self) -> None:
        """Remove the bar, and show the cursor again."""
        if self._progress is not None:
            self._progress.stop()
