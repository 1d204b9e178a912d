"""Show how far a push is: a bar on a terminal, or else one line a minute on standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Final, Self

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.text import Text

from ...api.calls import MAX_RECORDS
from ..output import is_terminal

_PER_SECOND: Final = 4
_MINUTE: Final = 60.0
_NOTED: Final = ("refused", "failed", "unknown", "invalid")


class Bar:
    """Show how far an activity is, with the time that is left.

    Args:
        what: name of the activity.
        total: number of records; None if not known yet.
        pace: batches that may leave in any minute; None if nothing limits them.
    """

    def __init__(self, what: str, total: int | None, pace: int | None = None) -> None:
        self._what, self._total, self._pace = what, total, pace
        self._first: int | None = None
        self._since = self._said = time.monotonic()
        # rich's own is_terminal is also true for a pipe when FORCE_COLOR is set.
        self._progress = _Progress(what, total) if is_terminal(sys.stderr) else None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def at(self, done: int, note: str = "") -> None:
        """Set how many records are done, and what it is waiting for."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._since = done, now
            # Say at once that it will take long; a short run stays silent.
            self._said = now if self._left(done, now) <= _MINUTE else now - _MINUTE
        if self._progress is not None:
            self._progress.show(done, self._in_words(self._left(done, now)), note)
        elif now - self._said >= _MINUTE:
            self._said = now
            count = f"{done:,} records" if self._total is None else f"{done:,} of {self._total:,} records"
            texts = (f"{self._what}: {count}", self._in_words(self._left(done, now)), note)
            self.say(f"{time.strftime('%H:%M:%S')} {', '.join(text for text in texts if text)}")

    def show(self, totals: Mapping[str, int], note: str = "") -> None:
        """Show the progress of a push."""
        wrong = [f"{totals[name]:,} {name}" for name in _NOTED if totals.get(name)]
        self.at(sum(totals.values()) - totals.get("unsent", 0), ", ".join([*wrong, *([note] if note else [])]))

    def say(self, line: str) -> None:
        """Print a line on standard error, above the bar if there is one. Ignore a closed stream."""
        with contextlib.suppress(OSError):
            if self._progress is not None:
                self._progress.console.print(line, markup=False, highlight=False)
            else:
                typer.echo(line, err=True)

    def stop(self) -> None:
        """Remove the bar, and show the cursor again. Ignore a terminal that was closed."""
        if self._progress is not None:
            with contextlib.suppress(OSError):
                self._progress.stop()

    def _left(self, done: int, now: float) -> float:
        """Return the seconds that it will take, or 0."""
        if self._total is None or self._first is None or done >= self._total:
            return 0.0
        elapsed = now - self._since
        by_rate = elapsed * (self._total - done) / (done - self._first) if done > self._first else 0.0
        if self._pace is None:
            return by_rate
        # The first batches of a minute leave at once, so the last one leaves after so many whole minutes.
        of_all, of_rest = (-(-(self._total - start) // MAX_RECORDS) for start in (self._first, done))
        return max((of_all - 1) // self._pace * _MINUTE - elapsed, (of_rest - 1) // self._pace * _MINUTE)

    @staticmethod
    def _in_words(seconds: float) -> str:
        if seconds <= 0:
            return ""
        return f"{seconds:.0f} s left" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} min left"


class _Progress(Progress):
    """Draw one bar with a note below it, which a narrow terminal wraps."""

    def __init__(self, what: str, total: int | None) -> None:
        columns: list[ProgressColumn] = [TextColumn("{task.description}"), TextColumn("{task.fields[count]}")]
        # A bar without a total would look full.
        columns.insert(1, SpinnerColumn("line") if total is None else BarColumn())
        self._note = ""
        super().__init__(
            *columns,
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            refresh_per_second=_PER_SECOND,
            transient=True,
        )
        self._all = total
        self._task = self.add_task(what, total=total, count="", left="")

    def show(self, done: int, left: str, note: str) -> None:
        """Set what is drawn."""
        self._note = note
        count = f"{done:,}" if self._all is None else f"{done:,}/{self._all:,}"
        self.update(self._task, completed=done, count=count, left=left)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Return the bar and the note."""
        yield self.make_tasks_table(self.tasks)
        if self._note:
            yield Text(self._note, style="dim")
