"""Write the results of a push, or the rows that have to be mended, as CSV or JSON Lines."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from ...api.foreign_text import plain
from ...api.records import is_e164
from ...call_lists.columns import RESERVED
from ...call_lists.formats import Row
from ...call_lists.source import Format, Source
from ...errors import ConfigurationError
from ...files import replace_atomically
from ..output import standard_output
from .list_options import RowParser
from .pieces import in_batches
from .state import PENDING, PushState

# Characters that make a spreadsheet read text as a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER: Final = re.compile(r"-?\d+([.,]\d+)*")
_MOST_REASON: Final = 1000
REJECTED: Final = frozenset({"invalid", "refused", "unsent", "failed"})
"""Outcomes of rows that may be mended and pushed again."""
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
    for batch, rows in in_batches(source, state.batches()):
        told = state.outcomes(batch)
        usual = batch.outcome, batch.error or (_LOST if batch.outcome == "unknown" else "")
        for position, row in enumerate(rows, batch.first):
            outcome, reason = told.get(position, usual)
            if outcome == "unsent" and batch.state in PENDING and isinstance(fault := parser.record(row), str):
                outcome, reason = "invalid", fault
            yield Result(row, outcome, reason, (batch.batch_id or "") if outcome != "invalid" else "")


def export(
    found: Iterator[Result], source: Source, target: Path | None, *, delimiter: str | None, only: frozenset[str] | None
) -> int:
    """Write results to a file, or to standard output if there is no target, and return the number of rows.

    Args:
        found: of `results`.
        source: the input.
        target: where to; a file that is not an export is never replaced, and an earlier one with other rows to mend
            is renamed, since it may have been mended.
        delimiter: of CSV; None for JSON Lines.
        only: outcomes to write; None for all.

    Raises:
        ConfigurationError: it cannot be written, or another file has its name.
    """
    chosen = (result for result in found if only is None or result.outcome in only)
    if target is None:
        return _write(chosen, source, standard_output(), delimiter, encoding="utf-8")
    if target.exists() and (not _is_export(target) or target.samefile(source.path)):
        raise ConfigurationError(
            f"{plain(target)} is not an export of this push, and is not replaced: name another with --output"
        )
    try:
        with replace_atomically(target) as opened:
            file = cast(io.BufferedRandom, opened)
            # A spreadsheet takes a file without the mark for one in the old encoding of its country.
            encoding = "utf-8" if delimiter is None else "utf-8-sig"
            rows = _write(chosen, source, file, delimiter, encoding=encoding)
            if only is not None and target.exists():
                _set_aside(target, file)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written ({error.strerror}): name another with --output") from None
    return rows


def _set_aside(earlier: Path, new: io.BufferedRandom) -> None:
    """Rename the earlier file, unless it has the same content as the new one."""
    new.seek(0)
    with earlier.open("rb") as file:
        if hashlib.file_digest(file, "sha256").digest() == hashlib.file_digest(new, "sha256").digest():
            return
    names = (earlier.with_name(f"{earlier.name}.{count}") for count in itertools.count(1))
    earlier.rename(next(name for name in names if not name.exists()))


def without_formula(text: str) -> str:
    """Return text that no spreadsheet reads as a formula; a reader drops the apostrophe."""
    is_harmless = not text.lstrip().startswith(_FORMULA) or is_e164(text) or _NUMBER.fullmatch(text)
    return text if is_harmless else f"'{text}"


def _write(found: Iterator[Result], source: Source, raw: BinaryIO, delimiter: str | None, *, encoding: str) -> int:
    # Bytes of a CSV file that are not UTF-8 stay as they are.
    errors = "surrogateescape" if source.format is Format.CSV else "backslashreplace"
    file = io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="")
    writer = csv.writer(file, lineterminator="\n", delimiter=delimiter or ",")
    own = [] if delimiter is None else _own_columns(source)
    rows = 0
    try:
        if delimiter is not None:
            writer.writerow((*RESERVED, *map(without_formula, own)))
        for row, *told in found:
            rows += 1
            ours = (str(row.line), *told)
            if delimiter is None:
                theirs = {name: value for name, value in row.cells.items() if name not in RESERVED}
                file.write(json.dumps(dict(zip(RESERVED, ours, strict=True)) | theirs, default=str) + "\n")
            else:
                cells = [*(plain(it, _MOST_REASON) for it in ours), *(_cell(row.cells.get(name)) for name in own)]
                writer.writerow(map(without_formula, cells))
        file.flush()
        return rows
    finally:
        with contextlib.suppress(OSError):
            file.detach()


def _own_columns(source: Source) -> list[str]:
    names: Iterable[str] = source.header()[1]
    if source.format in (Format.JSON, Format.JSONL):  # each object may have other names
        names = (name for row in source.rows() for name in row.cells)
    return [name for name in dict.fromkeys(names) if name not in RESERVED]


def _cell(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, default=str) if isinstance(value, dict | list | bool) else str(value)


def _is_export(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").removeprefix(b'{"').startswith(RESERVED[0].encode())
