"""Write the results of a push, or the rows that have to be mended, as CSV or JSON Lines."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TextIO

from ...api.records import is_e164
from ...errors import ConfigurationError
from ...files import replace_atomically
from ..output import plain
from .columns import RESERVED, RowParser
from .formats import Row
from .source import Source
from .state import PENDING, PushState

# Characters that make a spreadsheet read text as a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_REJECTS: Final = frozenset({"invalid", "refused", "unsent", "failed"})
_IN_WORDS: Final = {"open": "unsent", "sending": "unknown"}
_LOST: Final = "it may have been taken or not, since its answer was lost"


class Result(NamedTuple):
    """Hold the outcome of one row."""

    row: Row
    outcome: str
    reason: str
    batch_id: str


def results(source: Source, parser: RowParser, state: PushState) -> Iterator[Result]:
    """Yield every row of the input with its outcome.

    Raises:
        InputChangedError: the input is not the one that was pushed.
    """
    if source.fingerprint() != state.facts.fingerprint:
        raise ConfigurationError(
            f"{source.name} is not the file that was pushed, or was changed since: give it as it was on "
            f"{state.facts.begun}"
        )
    rows = enumerate(source.rows())
    for batch in state.batches():
        told = state.outcomes(batch)
        word = "success" if batch.final else _IN_WORDS.get(batch.state, batch.state)
        usual = word, batch.error or (_LOST if batch.state == "sending" else "")
        while batch.size and (item := next(rows, None)) is not None:
            position, row = item
            outcome, reason = told.get(position, usual)
            if outcome == "unsent" and batch.state in PENDING and isinstance(fault := parser.record(row), str):
                outcome, reason = "invalid", fault
            yield Result(row, outcome, reason, (batch.batch_id or "") if outcome != "invalid" else "")
            if position + 1 == batch.first + batch.size:
                break


def export(
    found: Iterator[Result], columns: tuple[str, ...], target: Path | None, *, as_csv: bool, only: frozenset[str] | None
) -> int:
    """Write results to a file, or to standard output if there is no target, and return the number of rows.

    Args:
        found: of `results`.
        columns: of the input.
        target: where to; a file that is not an export is never replaced.
        as_csv: as CSV; else as JSON Lines.
        only: outcomes to write; None for all.

    Raises:
        ConfigurationError: it cannot be written, or another file has its name.
    """
    chosen = (result for result in found if only is None or result.outcome in only)
    if target is None:
        return _write(chosen, columns, sys.stdout, as_csv=as_csv)
    if target.exists() and not _is_export(target):
        raise ConfigurationError(f"{target} is another kind of file, and is not replaced: name another with --output")
    try:
        with replace_atomically(target) as raw:
            file = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            rows = _write(chosen, columns, file, as_csv=as_csv)
            file.flush()
            file.detach()
    except OSError as error:
        raise ConfigurationError(
            f"{target} cannot be written ({error.strerror}): name another place with --output"
        ) from None
    return rows


def rejected(*, with_unknown: bool) -> frozenset[str]:
    """Return the outcomes of rows that may be mended and pushed again."""
    return _REJECTS | {"unknown"} if with_unknown else _REJECTS


def without_formula(text: str) -> str:
    """Return foreign text on one line that no spreadsheet reads as a formula; a reader drops the apostrophe."""
    line = plain(text, len(text) + 1)
    return f"'{line}" if line.lstrip().startswith(_FORMULA) and not is_e164(line) else line


def _write(found: Iterator[Result], columns: tuple[str, ...], file: TextIO | IO[str], *, as_csv: bool) -> int:
    own = tuple(name for name in columns if name not in RESERVED)
    put: Callable[[list[str], Mapping[str, Any]], object]
    if as_csv:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*RESERVED, *(without_formula(name) for name in own)))

        def put(ours: list[str], cells: Mapping[str, Any]) -> object:
            return writer.writerow(
                [*map(without_formula, ours), *(without_formula(_cell(cells.get(it))) for it in own)]
            )

    else:

        def put(ours: list[str], cells: Mapping[str, Any]) -> object:
            theirs = {name: value for name, value in cells.items() if name not in RESERVED}
            return file.write(json.dumps(dict(zip(RESERVED, ours, strict=True)) | theirs, default=str) + "\n")

    rows = 0
    for result in found:
        put([str(result.row.line), result.outcome, result.reason, result.batch_id], result.row.cells)
        rows += 1
    return rows


def _cell(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, default=str) if isinstance(value, dict | list | bool) else str(value)


def _is_export(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(RESERVED[0]) + 2).lstrip(b'{"').startswith(RESERVED[0].encode())
    except OSError:
        return False
