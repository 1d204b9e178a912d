"""Keep a journal of what was sent and what was answered."""

from __future__ import annotations

import contextlib
import json
import os
from array import array
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias, cast, get_args

import attrs
from filelock import FileLock, Timeout

from ...api.calls import MAX_RECORDS
from ...errors import ConfigurationError, VBCError
from ...files import flush_directory, open_private
from .reading import Fingerprint

ChunkState: TypeAlias = Literal["open", "sending", "acknowledged", "refused", "unknown", "unsent", "invalid"]

_STATES: Final[tuple[ChunkState, ...]] = get_args(ChunkState)
_TO_DO: Final = frozenset({"open", "unsent"})


@attrs.frozen
class Totals:
    """Count the records by outcome."""

    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    unsent: int = 0
    invalid: int = 0


class ChunkTable:
    """Keep the state of every chunk, and the offset of its last line in the journal.

    Args:
        records: number of records of the input. Chunks are cut by position, 500 each, so that every run has the same
            ones.
    """

    def __init__(self, records: int) -> None:
        self.records = records
        self.chunks = -(-records // MAX_RECORDS)
        self._states = bytearray(self.chunks)
        self._invalid = array("H", bytes(2 * self.chunks))
        self._places = array("Q", bytes(8 * self.chunks))

    def size(self, chunk: int) -> int:
        """Return how many records the chunk has, invalid ones included."""
        return min(MAX_RECORDS, self.records - chunk * MAX_RECORDS)

    def state(self, chunk: int) -> ChunkState:
        """Return the chunk's state; ``sending`` counts as ``unknown`` when the run that sent it has ended."""
        return _STATES[self._states[chunk]]

    def place(self, chunk: int) -> int:
        """Return the offset of the chunk's last line in the journal."""
        return self._places[chunk]

    def is_pending(self, chunk: int) -> bool:
        """Tell whether the chunk may be sent, since no part of it can have been accepted."""
        return self.state(chunk) in _TO_DO

    @property
    def any_pending(self) -> bool:
        """Tell whether any chunk may be sent."""
        return any(_STATES[state] in _TO_DO for state in self._states)

    def enter(self, chunk: int, state: ChunkState, invalid: int, place: int) -> None:
        """Set the newest state of a chunk.

        Raises:
            ValueError: the chunk or the state does not exist, or it cannot have so many invalid records.
        """
        if not 0 <= chunk < self.chunks or not 0 <= invalid <= self.size(chunk):
            raise ValueError("there is no such chunk")
        self._states[chunk] = _STATES.index(state)
        self._invalid[chunk] = invalid
        self._places[chunk] = place

    def totals(self) -> Totals:
        """Return the totals of all chunks."""
        counts = dict.fromkeys(_STATES, 0)
        invalid = 0
        for chunk, state in enumerate(self._states):
            counts[_STATES[state]] += self.size(chunk) - self._invalid[chunk]
            invalid += self._invalid[chunk]
        return Totals(
            acknowledged=counts["acknowledged"],
            refused=counts["refused"],
            unknown=counts["sending"] + counts["unknown"],
            unsent=counts["open"] + counts["unsent"],
            invalid=invalid + counts["invalid"],
        )


def chunk_state(word: object) -> ChunkState:
    """Return the state with this name.

    Raises:
        ValueError: the name is unknown.
    """
    if word not in _STATES:
        raise ValueError("there is no such state")
    return word


_NAME: Final = "truecaller-vbc calls push"
_VERSION: Final = 1
_START: Final = f'{{"journal": "{_NAME}", '.encode()


class JournalError(VBCError):
    """Report that the journal cannot be written, so nothing may be sent."""


@attrs.frozen
class Header:
    """Describe the push that a journal belongs to.

    Args:
        fingerprint: of the input.
        options: the options that decide what is sent, and where.
        records: in the input.
    """

    fingerprint: Fingerprint
    options: Mapping[str, Any]
    records: int


@attrs.frozen
class Entry:
    """Hold a chunk's last line.

    Args:
        batch_id: as it was acknowledged.
        error: why it was not.
        invalid: problems of the invalid records, by their index in the chunk.
    """

    batch_id: str = ""
    error: str = ""
    invalid: Mapping[int, str] = attrs.field(factory=dict[int, str])


class Journal:
    """Write a journal, which this run has locked.

    Args:
        raw: unbuffered file: a line that failed to be written must not be written later.
        reader: the same file, open for reading.
        path: its name, for messages.

    Raises:
        ConfigurationError: the file is not a journal, or is damaged.
    """

    def __init__(self, raw: IO[bytes], reader: IO[bytes], path: Path) -> None:
        self.path = path
        self._raw = raw
        self._reader = reader
        self._book: ChunkTable | None = None
        self.header = self._load()

    @property
    def chunks(self) -> ChunkTable:
        """Return the state of each chunk."""
        if self._book is None:
            raise JournalError(f"the journal {self.path} has not been begun")
        return self._book

    def begin(self, header: Header) -> None:
        """Write the first line.

        Raises:
            JournalError: it cannot be written.
        """
        self._append(
            {
                "journal": _NAME,
                "version": _VERSION,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "input": attrs.asdict(header.fingerprint),
                "options": dict(header.options),
                "records": header.records,
            }
        )
        flush_directory(self.path.parent)
        self.header = header
        self._book = ChunkTable(header.records)

    def sending(self, chunk: int, invalid: Mapping[int, str]) -> None:
        """Record that a chunk is about to be sent.

        Raises:
            JournalError: that cannot be written down, so it must not leave.
        """
        self._enter(chunk, "sending", {"state": "sending"}, invalid)

    def outcome(
        self, chunk: int, state: ChunkState, invalid: Mapping[int, str], *, batch_id: str = "", error: str = ""
    ) -> None:
        """Record the outcome of a chunk.

        Raises:
            JournalError: that cannot be written down; if it was sent, its outcome is unknown.
        """
        describe = {name: value for name, value in (("batch_id", batch_id), ("error", error)) if value}
        self._enter(chunk, state, {"state": state, **describe}, invalid)

    def entry(self, chunk: int) -> Entry:
        """Return the last line of a chunk; an empty entry if it has none."""
        if self.chunks.state(chunk) == "open":
            return Entry()
        self._reader.seek(self.chunks.place(chunk))
        line = json.loads(self._reader.readline())
        invalid = {int(place): str(text) for place, text in line.get("invalid", {}).items()}
        return Entry(str(line.get("batch_id", "")), str(line.get("error", "")), invalid)

    def _enter(self, chunk: int, state: ChunkState, describe: Mapping[str, Any], invalid: Mapping[int, str]) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"chunk": chunk, "at": stamp, **describe}
        if invalid:
            line["invalid"] = {str(place): text for place, text in invalid.items()}
        self.chunks.enter(chunk, state, len(invalid), self._append(line))

    def _append(self, line: Mapping[str, Any]) -> int:
        """Write a line durably, and return its offset."""
        place = 0
        try:
            place = self._raw.seek(0, os.SEEK_END)
            left = memoryview(json.dumps(line).encode() + b"\n")
            while left:
                left = left[self._raw.write(left) :]
            os.fsync(self._raw.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._raw.truncate(place)  # a half-written line must not become part of the next one
            raise JournalError(
                f"the journal {self.path} cannot be written ({error.strerror}): nothing is sent"
            ) from None
        return place

    def _load(self) -> Header | None:
        first = self._reader.readline()
        if not first.endswith(b"\n") and (first.startswith(_START) or _START.startswith(first)):
            self._raw.truncate(0)  # a crash before the first line was complete: nothing was sent
            return None
        try:
            header = _header(first)
        except (ValueError, KeyError, TypeError):
            raise ConfigurationError(
                f"{self.path} is no journal of this program: name another one with --journal"
            ) from None
        self._book = ChunkTable(header.records)
        place, number = len(first), 1
        while line := self._reader.readline():
            number += 1
            if not line.endswith(b"\n"):
                self._raw.truncate(place)  # a crash during this write: the step that it announces did not happen
                break
            try:
                entry = json.loads(line)
                invalid = {int(key) for key in entry.get("invalid", {})}
                self._book.enter(entry["chunk"], chunk_state(entry["state"]), len(invalid), place)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise ConfigurationError(
                    f"line {number} of the journal {self.path} is damaged: it cannot be told what was sent. "
                    "Look into it before you push the input with another --journal"
                ) from None
            place += len(line)
        return header


@contextlib.contextmanager
def open_journal(path: Path) -> Generator[Journal]:
    """Open the journal at `path`, creating it if needed, and lock it.

    Raises:
        ConfigurationError: another run has locked it, the file is not a journal, or it cannot be opened.
    """
    if not path.parent.is_dir():
        raise ConfigurationError(f"there is no directory for the journal {path}: name another place with --journal")
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"the journal {path} is no file: name another place with --journal")
    lock = FileLock(f"{path}.lock", mode=0o600, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigurationError(f"another run has the journal {path}: wait until it has ended") from None
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        begun = True
        try:
            with _opened(path) as raw, path.open("rb") as reader:
                journal = Journal(raw, reader, path)
                try:
                    yield journal
                finally:
                    begun = journal.header is not None
        finally:
            if not begun:
                path.unlink(missing_ok=True)  # nothing was sent with it
    finally:
        lock.release()


def _opened(path: Path) -> IO[bytes]:
    try:
        return open_private(path, buffered=False)
    except OSError as error:
        raise _unusable(path, error) from None


def _header(line: bytes) -> Header:
    fields = cast(dict[str, Any], json.loads(line))
    records = fields["records"]
    if fields["journal"] != _NAME or fields["version"] != _VERSION or type(records) is not int or records < 0:
        raise ValueError("another kind of file")
    fingerprint = Fingerprint(fields["input"]["size"], fields["input"]["sha256"])
    return Header(fingerprint, dict(fields["options"]), records)


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the journal {path} cannot be used ({error.strerror}): name a place that you can write to with --journal"
    )
