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
from ...files import open_private
from ..output import standard_input
from .formats import Row, csv_rows, jsonl_rows

_SUFFIXES: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_SNIFFED: Final = 4096
_BLOCK: Final = 1024 * 1024


class Format(StrEnum):
    """Name the format of the records."""

    CSV = "csv"
    JSONL = "jsonl"


class InputChangedError(VBCError):
    """Report that the input has changed since it was checked."""


@attrs.frozen
class Fingerprint:
    """Identify an input.

    Args:
        size: in bytes.
        sha256: of its bytes, in hex.
    """

    size: int
    sha256: str


class Source:
    """Read an input file. Each call of `rows` starts at the beginning; only one may run at a time.

    Args:
        file: open, at any place.
        path: its name, for messages.
        given: format; None to derive it from the name or the first character.
    """

    def __init__(self, file: BinaryIO, path: Path, given: Format | None = None) -> None:
        self.path = path
        self._file = file
        self._stamp = self._current()
        self.format = given or self._guessed()

    def fingerprint(self) -> Fingerprint:
        """Read the whole input once."""
        self._file.seek(0)
        digest = hashlib.sha256()
        size = 0
        while block := self._file.read(_BLOCK):
            digest.update(block)
            size += len(block)
        return Fingerprint(size, digest.hexdigest())

    def rows(self) -> Generator[Row]:
        """Yield all records.

        Raises:
            UnreadableInputError: reading cannot go on; the records before have been yielded.
        """
        self._file.seek(0)
        return csv_rows(self._file) if self.format is Format.CSV else jsonl_rows(self._file)

    def check_unchanged(self) -> None:
        """Check that the input has not been modified.

        Raises:
            InputChangedError: it has been modified.
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
    """Open a file as a source.

    Raises:
        ConfigurationError: it cannot be opened, or is not a regular file.
    """
    check_regular(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None
    with file:
        yield Source(file, path, given)


def check_regular(path: Path) -> None:
    """Check the type before opening, since opening a pipe waits for its writer.

    Raises:
        ConfigurationError: the file cannot be read several times.
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
def store_stdin(kept: Path | None, given: Format | None = None) -> Generator[Source]:
    """Store standard input in a private file, so that it can be read again.

    Args:
        kept: name of the file once `keep` was called; until then it has a temporary name, and is deleted at the end.
            The caller must hold the journal beside it. None for a file without a name.
        given: the format.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    part = None if kept is None else Path(f"{kept}.part")
    try:
        with _copy_stdin(part) as file:
            yield Source(file, part or Path("standard input"), given)
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def keep(source: Source, kept: Path) -> None:
    """Give a stored input its lasting name."""
    source.path.replace(kept)
    source.path = kept


def _copy_stdin(part: Path | None) -> BinaryIO:
    """Copy all of standard input."""
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
    path.unlink(missing_ok=True)  # left by a run that was killed
    return cast(BinaryIO, open_private(path, new=True))
