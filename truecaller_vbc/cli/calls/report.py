"""Write the results file and print the summary of a push."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import attrs
import typer

from ...api.calls import MAX_RECORDS
from ...api.records import is_e164
from ...errors import ConfigurationError
from ..failures import DONE, IN_PART, INTERRUPTED, NOTHING_SENT, STOPPED, said
from ..tables import plain
from .formats import Row, UnreadableInputError
from .journal import ChunkState, Entry, Journal, Totals
from .reading import Source
from .records import InvalidRow, Judge, receiver

# What a spreadsheet takes for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Result(NamedTuple):
    """What became of one record."""

    line: int
    receiver_number: str
    outcome: str
    batch_id: str = ""
    error: str = ""


def results_of_push(source: Source, judge: Judge, journal: Journal) -> Iterator[Result]:
    """Every record of the input, by what the journal knows of its chunk.

    Raises:
        InputChangedError: its records are not those that were sent any more.
        UnreadableInputError: it was changed meanwhile, too.
    """
    source.must_be_unchanged()
    book = journal.book
    state: ChunkState = "open"
    entry = Entry()
    for position, row in enumerate(islice(source.rows(), book.records)):
        chunk, place = divmod(position, MAX_RECORDS)
        if place == 0:
            state, entry = book.state(chunk), journal.entry(chunk)
        # A chunk that was not sent was not judged, either.
        fault = entry.invalid.get(place) or (_fault(judge, row) if state == "open" else "")
        if fault:
            yield Result(row.line, receiver(row), "invalid", "", fault)
        elif state == "sending":
            yield Result(row.line, receiver(row), "unknown", "", "it may have been sent, and there is no answer to it")
        else:
            outcome = "unsent" if state == "open" else state
            yield Result(row.line, receiver(row), outcome, entry.batch_id, entry.error)
    source.must_be_unchanged()


def results_of_check(source: Source, judge: Judge, now: float) -> Iterator[Result]:
    """Every record of an input of which nothing is sent, as far as it can be read."""
    try:
        for row in source.rows():
            fault = judge.fault(row, now)
            yield Result(row.line, receiver(row), "invalid" if fault else "unsent", "", fault)
    except UnreadableInputError as error:
        yield Result(error.line, "", "invalid", "", error.fault)


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write all of them, as JSON lines or CSV by the file's name. Nobody sees half of it; only its owner can read it.

    Raises:
        ConfigurationError: it cannot be written.
    """
    name: str | None = None
    try:
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                put = _jsonl(file) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv(file)
                for result in results:
                    put(result)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
            name = None
        finally:
            if name is not None:
                Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the results {path} cannot be written ({error.strerror}): name another place with --results, "
            "and run the same command again"
        ) from None


def _jsonl(file: TextIO) -> Callable[[Result], Any]:
    return lambda result: file.write(json.dumps(result._asdict()) + "\n")


def _csv(file: TextIO) -> Callable[[Result], Any]:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(Result._fields)

    def put(result: Result) -> None:
        number = result.receiver_number
        writer.writerow(
            (
                result.line,
                # A plus is part of a number. What is not entirely a number is foreign text as any other.
                number if is_e164(number) else harmless(number),
                result.outcome,
                harmless(result.batch_id),
                harmless(result.error),
            )
        )

    return put


def harmless(text: str) -> str:
    """Foreign text that no spreadsheet takes for a formula, on one line."""
    line = plain(text)
    return f"'{line}" if line.lstrip().startswith(_FORMULA) else line


def _fault(judge: Judge, row: Row) -> str:
    record = judge.record(row)
    return record if isinstance(record, str) else ""


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
    problems: tuple[InvalidRow, ...] = ()
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
