"""How a push ended, for people and for machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import typer

from ..failures import DONE, IN_PART, INTERRUPTED, NOTHING_SENT, STOPPED, said
from ..text import plain
from .book import Totals
from .check import Problem


@attrs.frozen(kw_only=True)
class Report:
    """How a push ended.

    Args:
        records: in the input.
        totals: what they have come to.
        problems: the first of those that were found before anything was sent.
        refusal: whether nothing was sent because of them.
        unreadable: whether it could not be read to its end.
        reason: what stopped it.
        interrupted: whether it was asked to stop.
        results: the file with each record's outcome; None if none was written.
        journal: by which it can be resumed; None if there is none.
        input: to resume with, where it came on standard input.
    """

    records: int
    totals: Totals
    problems: tuple[Problem, ...] = ()
    refusal: bool = False
    unreadable: bool = False
    reason: Exception | None = None
    interrupted: bool = False
    results: Path | None = None
    journal: Path | None = None
    input: Path | None = None

    @property
    def resumable(self) -> bool:
        """Whether anything is left to be sent by the same journal."""
        return self.journal is not None and self.totals.unsent > 0

    @property
    def to_be_run_again(self) -> bool:
        """Whether it is resumable, or its results could not be written."""
        return self.resumable or (self.journal is not None and self.results is None)

    @property
    def exit_code(self) -> int:
        """See the help of the command."""
        if self.refusal:
            return NOTHING_SENT
        if self.to_be_run_again:
            return INTERRUPTED if self.interrupted else STOPPED
        return IN_PART if self.totals.refused or self.totals.unknown or self.totals.invalid else DONE

    def print(self, *, as_json: bool) -> None:
        """On standard output; what went wrong on standard error."""
        if as_json:
            typer.echo(json.dumps(self._facts()))
        else:
            self._print()
        if self.reason is not None:
            typer.echo(f"error: {said(self.reason)}", err=True)

    def _facts(self) -> dict[str, Any]:
        return {
            "exit_code": self.exit_code,
            "records": self.records,
            **attrs.asdict(self.totals),
            "problems": [attrs.asdict(problem) for problem in self.problems],
            "error": None if self.reason is None else said(self.reason),
            "interrupted": self.interrupted,
            "resumable": self.resumable,
            "results": None if self.results is None else str(self.results),
            "journal": None if self.journal is None else str(self.journal),
            "input": None if self.input is None else str(self.input),
        }

    def _print(self) -> None:
        totals = self.totals
        for problem in self.problems:
            typer.echo(f"line {problem.line}: {problem.fault}", err=True)
        if (more := totals.invalid - len(self.problems)) > 0 and self.problems:
            typer.echo(f"and {more:,} more records with problems", err=True)
        counts = ", ".join(f"{count:,} {name}" for name, count in attrs.asdict(totals).items() if count)
        if self.journal is None and not self.refusal:
            counts = "no problem found"
        typer.echo(f"{self.records:,} records: {counts or 'nothing to send'}")
        if self.results is not None:
            typer.echo(f"results: {plain(self.results)}")
        if self.refusal:
            others = "correct these records, or leave them out with --skip-invalid"
            typer.echo(f"error: nothing was sent: {'correct that line' if self.unreadable else others}", err=True)
        if totals.unknown:
            typer.echo(
                f"{totals.unknown:,} records may have been taken or not, and are not sent again by themselves: "
                "look for them in the results"
            )
        if self.resumable:
            how = f"with {plain(self.input)} as FILE and --journal {plain(self.journal)}" if self.input else "again"
            typer.echo(f"{totals.unsent:,} records are not sent: to resume, run the same command {how}")
