"""Show on standard error how far a command is: a bar on a terminal, else one line a minute."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ...api.calls import MAX_RECORDS
from ..output import is_terminal

_PER_SECOND: Final = 4
_EVERY: Final = 60.0


class Bar:
    """Show how far a command is.

    Args:
        what: name of the activity.
        total: number of records; None if not known yet.
        pace: batches that the API takes in a minute; None if that does not matter.
    """

    def __init__(self, what: str, total: int | None, pace: int | None = None) -> None:
        self._what = what
        self._total = total
        self._pace = pace
        self._progress: Progress | None = None
        self._said = time.monotonic()
        if is_terminal(sys.stderr):  # rich's own is_terminal is also true for a pipe when FORCE_COLOR is set
            bar: list[Any] = [] if total is None else [BarColumn(bar_width=20)]
            self._progress = Progress(
                TextColumn("{task.description}"),
                *bar,
                TextColumn("{task.fields[text]}", markup=False),
                console=Console(stderr=True),
                refresh_per_second=_PER_SECOND,
                transient=True,
            )
            self._progress.add_task(what, total=total, text="")

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
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done, text=self._text(done, note))
        elif time.monotonic() - self._said >= _EVERY:
            self._said = time.monotonic()
            self.say(f"{time.strftime('%H:%M:%S')} {self._what} {self._text(done, note)}")

    def show(self, totals: Mapping[str, int], note: str = "") -> None:
        """Show the progress of a push."""
        wrong = [f"{count:,} {name}" for name in ("refused", "unknown", "invalid") if (count := totals[name])]
        self.at(sum(totals.values()) - totals["unsent"], ", ".join(filter(None, [*wrong, note])))

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

    def _text(self, done: int, note: str) -> str:
        if self._total is None:
            return f"{done:,}" + (f", {note}" if note else "")
        return ", ".join(filter(None, [f"{done:,} of {self._total:,}", self._left(done), note]))

    def _left(self, done: int) -> str:
        """Return the time that the rest takes at the API's pace; the batches of the first minute leave at once."""
        if self._total is None or self._pace is None or done >= self._total:
            return ""
        minutes = -(-(self._total - done) // MAX_RECORDS) // self._pace
        return f"about {minutes} min left" if minutes else "less than a minute left"
