"""The results file: one row for each record of the input, with what became of it."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from ...api.calls import MOST_RECORDS
from ...api.phone import is_e164
from ...errors import ConfigurationError
from ..text import plain
from .book import ChunkState
from .journal import Entry, Journal
from .judge import Judge, receiver
from .rows import Row, UnreadableInputError
from .source import Source

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
        chunk, place = divmod(position, MOST_RECORDS)
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
