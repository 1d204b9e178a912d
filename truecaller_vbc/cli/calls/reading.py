"""Open the input, copy a pipe to a file, and read its rows."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, cast

import attrs

from ...errors import ConfigurationError, VBCError
from ..streams import standard_input
from .formats import Row, csv_rows, jsonl_rows

_SUFFIXES: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_SNIFFED: Final = 4096
_BLOCK: Final = 1024 * 1024


class Format(StrEnum):
    """How records are written."""

    CSV = "csv"
    JSONL = "jsonl"


class InputChangedError(VBCError):
    """The input is not what it was when it was checked."""


@attrs.frozen
class Fingerprint:
    """By which an input is known again.

    Args:
        size: in bytes.
        sha256: of its bytes, in hex.
    """

    size: int
    sha256: str


class Source:
    """An input file. Each pass of `rows` begins at its start; there may be one pass at a time.

    Args:
        file: open, at any place.
        path: its name, for messages.
        given: its format; None for what its name or its first character says.
    """

    def __init__(self, file: BinaryIO, path: Path, given: Format | None = None) -> None:
        self.path = path
        self._file = file
        self._stamp = self._current()
        self.format = given or self._guessed()

    def fingerprint(self) -> Fingerprint:
        """Read all of it once."""
        self._file.seek(0)
        digest = hashlib.sha256()
        size = 0
        while block := self._file.read(_BLOCK):
            digest.update(block)
            size += len(block)
        return Fingerprint(size, digest.hexdigest())

    def rows(self) -> Generator[Row]:
        """All records.

        Raises:
            UnreadableInputError: as far as that; what came before has been yielded.
        """
        self._file.seek(0)
        return csv_rows(self._file) if self.format is Format.CSV else jsonl_rows(self._file)

    def must_be_unchanged(self) -> None:
        """Look whether somebody has written to it.

        Raises:
            InputChangedError: somebody has.
        """
        if self._current() != self._stamp:
            raise InputChangedError(
                f"{self.path} was changed while it was being read: nothing more is sent from it, and no results are "
                "written; give it as it was, and run the same command again"
            )

    def _current(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def _guessed(self) -> Format:
        if known := _SUFFIXES.get(self.path.suffix.lower()):
            return Format(known)
        self._file.seek(0)
        start = self._file.read(_SNIFFED).removeprefix(b"\xef\xbb\xbf").lstrip()
        return Format.JSONL if start.startswith(b"{") else Format.CSV


@contextlib.contextmanager
def open_source(path: Path, given: Format | None = None) -> Generator[Source]:
    """The source in a file.

    Raises:
        ConfigurationError: it cannot be opened, or is no file.
    """
    must_be_regular(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None
    with file:
        yield Source(file, path, given)


def must_be_regular(path: Path) -> None:
    """Look before it is opened: to open a pipe waits for whoever writes to it.

    Raises:
        ConfigurationError: it is no file that can be read several times.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise _unreadable(path, error) from None
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ConfigurationError(f"{path} is no regular file: give - and pipe it in")


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"{path} cannot be read ({error.strerror})")


@contextlib.contextmanager
def spooled(kept: Path | None, given: Format | None = None) -> Generator[Source]:
    """The source that comes on standard input, as a private file, so that it can be read again.

    Args:
        kept: the file's name once `keep` was called; until then it has another, and is removed in the end. Who calls
            must have the journal beside it. None for a file without a name.
        given: the format.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    part = None if kept is None else Path(f"{kept}.part")
    try:
        with _spool(part) as file:
            yield Source(file, part or Path("standard input"), given)
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def keep(source: Source, kept: Path) -> None:
    """Give a spooled source its lasting name."""
    source.path.replace(kept)
    source.path = kept


def _spool(part: Path | None) -> BinaryIO:
    """All of standard input."""
    stdin = standard_input()
    try:
        file = _new(part)
        try:
            shutil.copyfileobj(stdin, file, _BLOCK)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            file.close()
            raise
    except OSError as error:
        raise ConfigurationError(f"standard input cannot be kept beside the journal ({error.strerror})") from None
    return file


def _new(path: Path | None) -> BinaryIO:
    if path is None:
        return cast(BinaryIO, tempfile.TemporaryFile())
    path.unlink(missing_ok=True)  # a run that was killed left it
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "w+b")
