"""Write the results file and print the summary of a push."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import attrs
import typer

from ...api.calls import MAX_RECORDS
from ...api.records import is_e164
from ...errors import ConfigurationError
from ...files import replace_atomically
from ..failures import DONE, IN_PART, INTERRUPTED, NOTHING_SENT, STOPPED, describe
from ..output import plain
from .formats import Row, UnreadableInputError
from .journal import ChunkState, Entry, Journal, Totals
from .reading import Source
from .records import InvalidRow, RowParser, receiver

# Characters that make a spreadsheet read text as a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Result(NamedTuple):
    """Hold the outcome of one record."""

    line: int
    receiver_number: str
    outcome: str
    batch_id: str = ""
    error: str = ""


def results_of_push(source: Source, parser: RowParser, journal: Journal) -> Iterator[Result]:
    """Yield every record of the input with its outcome from the journal.

    Raises:
        InputChangedError: its records are not those that were sent any more.
        UnreadableInputError: it was changed meanwhile, too.
    """
    source.check_unchanged()
    book = journal.chunks
    state: ChunkState = "open"
    entry = Entry()
    for position, row in enumerate(islice(source.rows(), book.records)):
        chunk, place = divmod(position, MAX_RECORDS)
        if place == 0:
            state, entry = book.state(chunk), journal.entry(chunk)
        # The records of a chunk that was not sent were not checked.
        fault = entry.invalid.get(place) or (_fault(parser, row) if state == "open" else "")
        if fault:
            yield Result(row.line, receiver(row), "invalid", "", fault)
        elif state == "sending":
            yield Result(row.line, receiver(row), "unknown", "", "it may have been sent, and there is no answer to it")
        else:
            outcome = "unsent" if state == "open" else state
            yield Result(row.line, receiver(row), outcome, entry.batch_id, entry.error)
    source.check_unchanged()


def results_of_check(source: Source, parser: RowParser, now: float) -> Iterator[Result]:
    """Yield every readable record of an input of which nothing is sent."""
    try:
        for row in source.rows():
            fault = parser.fault(row, now)
            yield Result(row.line, receiver(row), "invalid" if fault else "unsent", "", fault)
    except UnreadableInputError as error:
        yield Result(error.line, "", "invalid", "", error.fault)


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write the results as JSON Lines or CSV, by the file's name; atomically, readable by the owner only.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        with replace_atomically(path) as raw:
            file = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            put = _jsonl(file) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv(file)
            for result in results:
                put(result)
            file.flush()
            file.detach()
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
                # A plus is part of a number; anything that is not entirely a number is treated as foreign text.
                number if is_e164(number) else without_formula(number),
                result.outcome,
                without_formula(result.batch_id),
                without_formula(result.error),
            )
        )

    return put


def without_formula(text: str) -> str:
    """Return foreign text on one line that no spreadsheet reads as a formula."""
    line = plain(text)
    return f"'{line}" if line.lstrip().startswith(_FORMULA) else line


def _fault(parser: RowParser, row: Row) -> str:
    record = parser.record(row)
    return record if isinstance(record, str) else ""


@attrs.frozen(kw_only=True)
class Report:
    """Summarise a push.

    Args:
        records: in the input.
        totals: number of records by outcome.
        problems: the first problems found before sending.
        refusal: whether nothing was sent because of them.
        unreadable: whether it could not be read to its end.
        reason: error that stopped it.
        interrupted: whether it was asked to stop.
        results: file with each record's outcome; None if none was written.
        journal: journal to resume with, if any.
        input: input to resume with, if it came from standard input.
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
        """Tell whether the same journal has anything left to send."""
        return self.journal is not None and self.totals.unsent > 0

    @property
    def should_run_again(self) -> bool:
        """Tell whether the command should be run again."""
        return self.resumable or (self.journal is not None and self.results is None)

    @property
    def exit_code(self) -> int:
        """Return the exit code; see the help of the command."""
        if self.refusal:
            return NOTHING_SENT
        if self.should_run_again:
            return INTERRUPTED if self.interrupted else STOPPED
        return IN_PART if self.totals.refused or self.totals.unknown or self.totals.invalid else DONE

    def print(self, *, as_json: bool) -> None:
        """Print the report on standard output, and errors on standard error."""
        if as_json:
            typer.echo(json.dumps(self._facts()))
        else:
            self._print()
        if self.reason is not None:
            typer.echo(f"error: {describe(self.reason)}", err=True)

    def _facts(self) -> dict[str, Any]:
        return {
            "exit_code": self.exit_code,
            "records": self.records,
            **attrs.asdict(self.totals),
            "problems": [attrs.asdict(problem) for problem in self.problems],
            "error": None if self.reason is None else describe(self.reason),
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
