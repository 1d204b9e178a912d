"""Show how far a push is: a bar on a terminal, or else one line a minute on standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import Final, Self

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ...api.calls import MAX_RECORDS
from ..output import is_terminal

_PER_SECOND: Final = 4
_MINUTE: Final = 60.0
_WIDTH: Final = 40
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
        self._done, self._note = 0, ""
        self._since = self._said = time.monotonic()
        self._spinner = Spinner("line")  # a bar without a total would look full
        # rich's own is_terminal is also true for a pipe when FORCE_COLOR is set.
        console = Console(stderr=True)
        live = Live(get_renderable=self._drawn, console=console, refresh_per_second=_PER_SECOND, transient=True)
        self._live = live if is_terminal(sys.stderr) else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def at(self, done: int, note: str = "") -> None:
        """Set how many records are done, and what it is waiting for."""
        now = time.monotonic()
        self._done, self._note = done, note
        if self._first is None:
            self._first, self._since = done, now
            # Say at once that it will take long; a short run stays silent.
            self._said = now if self._left() <= _MINUTE else now - _MINUTE
        if self._live is None and now - self._said >= _MINUTE:
            self._said = now
            records = self._count(" of ") + " records"
            texts = ", ".join(filter(None, (f"{self._what}: {records}", self._left_in_words(), note)))
            self.say(f"{time.strftime('%H:%M:%S')} {texts}")

    def show(self, totals: Mapping[str, int], note: str = "") -> None:
        """Show the progress of a push."""
        wrong = [f"{totals[name]:,} {name}" for name in _NOTED if totals.get(name)]
        self.at(sum(totals.values()) - totals.get("unsent", 0), ", ".join(filter(None, [*wrong, note])))

    def say(self, line: str) -> None:
        """Print a line on standard error, above the bar if there is one. Ignore a closed stream."""
        with contextlib.suppress(OSError):
            if self._live is not None:
                self._live.console.print(line, markup=False, highlight=False)
            else:
                typer.echo(line, err=True)

    def stop(self) -> None:
        """Remove the bar, and show the cursor again. Ignore a terminal that was closed."""
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.stop()

    def _drawn(self) -> Group:
        """Return the bar, and below it the note, which a narrow terminal wraps."""
        total = self._total
        row = Table.grid(padding=(0, 1))
        bar = self._spinner if total is None else ProgressBar(total, self._done, width=_WIDTH)
        row.add_row(self._what, bar, self._count("/"), self._left_in_words())
        return Group(row, Text(self._note, style="dim")) if self._note else Group(row)

    def _count(self, of: str) -> str:
        return f"{self._done:,}" if self._total is None else f"{self._done:,}{of}{self._total:,}"

    def _left(self) -> float:
        """Return the seconds that it will take, or 0."""
        total, first, done = self._total, self._first, self._done
        if total is None or first is None or done >= total:
            return 0.0
        elapsed = time.monotonic() - self._since
        if self._pace is None:
            return elapsed * (total - done) / (done - first) if done > first else 0.0
        # The first batches of a minute leave at once, so the last one leaves after so many whole minutes.
        of_all, of_rest = (-(-(total - start) // MAX_RECORDS) for start in (first, done))
        return max((of_all - 1) // self._pace * _MINUTE - elapsed, (of_rest - 1) // self._pace * _MINUTE)

    def _left_in_words(self) -> str:
        seconds = self._left()
        if seconds <= 0:
            return ""
        return f"{seconds:.0f} s left" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} min left"
