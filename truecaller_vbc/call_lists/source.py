"""Open the input, find out what it is, and read its rows as often as needed."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Generator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, cast

import attrs

from ..api.foreign_text import plain
from ..errors import ConfigurationError, VBCError
from .formats import (
    MOST_CHARACTERS,
    CSVReader,
    JSONLinesReader,
    JSONReader,
    Reader,
    Row,
    SheetReader,
    UnreadableInputError,
    parse_json,
)

_BLOCK: Final = 1024 * 1024
_SNIFFED: Final = 4096
_MOST_SHEET: Final = 1024 * 1024 * 1024
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_FOREIGN: Final = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls), or one with a password: save it as .xlsx or as CSV UTF-8",
    b"%PDF": "a PDF: export the list as CSV UTF-8",
    b"<": "HTML or XML (some CRMs call it .xls): open it in a spreadsheet, and save it as .xlsx or as CSV UTF-8",
} | dict.fromkeys(
    (b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"),
    "an archive: unpack it (only .gz is read as it is)",
)
_BOMS: Final = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_WRAPPED: Final = re.compile(r'\{\s*"call_records"\s*:')


class Format(StrEnum):
    """Name the format of the records."""

    CSV = "csv"
    JSONL = "jsonl"
    JSON = "json"
    XLSX = "xlsx"


class InputChangedError(VBCError):
    """Report that the input has changed since it was checked."""


_NAMED_DELIMITERS: Final = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}


@attrs.frozen(kw_only=True)
class SourceOptions:
    r"""Say how to read the input, where that is not seen in it.

    Args:
        format: of the records; by default it is seen in the first characters.
        delimiter: between the cells of CSV: one character, or tab, comma, semicolon, pipe.

    Raises:
        ConfigurationError: the delimiter is wrong.
    """

    format: Format | None = None
    delimiter: str | None = None

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "format", self.format and Format(self.format))
        if self.delimiter is not None:
            object.__setattr__(self, "delimiter", _NAMED_DELIMITERS.get(self.delimiter.casefold(), self.delimiter))
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n\0'):
            raise ConfigurationError("delimiter= must be one character, or tab, comma, semicolon or pipe")
        if self.delimiter is not None and self.format not in (None, Format.CSV):
            raise ConfigurationError("delimiter= is for CSV: leave it out, or give format=csv")


class Source:
    """Read an input file. Each call of `rows` starts at the beginning; only one may run at a time.

    Args:
        file: open, at any place.
        path: its path.
        name: how messages call it.
        options: how to read it.

    Raises:
        ConfigurationError: it is of a kind that cannot be read.
    """

    def __init__(self, file: BinaryIO, path: Path, name: str, options: SourceOptions) -> None:
        self.path = path
        self.name = name
        self._file = file
        self._delimiter = options.delimiter
        self._stamp = self._current()
        self._fingerprint: str | None = None
        self._sheet: SheetReader | None = None
        self._packed = self._start() == _GZIP
        try:
            self._encoding, guessed = self._sniffed()
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise ConfigurationError(f"{name} is a damaged .gz file: export it again") from None
        self.format: Format = guessed if guessed is Format.XLSX else options.format or guessed

    @property
    def unit(self) -> str:
        """Return what the number of a row counts: lines, items of an array, or rows of a sheet."""
        return {Format.JSON: "item", Format.XLSX: "row"}.get(self.format, "line")

    def fingerprint(self) -> str:
        """Return the SHA-256 of the bytes in hex; they are read once."""
        if self._fingerprint is None:
            self._stamp = self._current()
            self._fingerprint = self._hashed()
        return self._fingerprint

    def check_unchanged(self) -> None:
        """Check that the bytes are those of the fingerprint; a new time of modification alone does not matter.

        Raises:
            InputChangedError: they have been modified.
        """
        current = self._current()
        if current == self._stamp:
            return
        if self._fingerprint is None or self._hashed() != self._fingerprint:
            raise InputChangedError(
                f"{self.name} was changed while it was being read: nothing more is sent from it; give it as it was, "
                "and run the same command again"
            )
        self._stamp = current

    def header(self) -> tuple[int, tuple[str, ...]]:
        """Return the line of the header (0 for JSON) and its columns as written; for JSON those of the first objects.

        Raises:
            UnreadableInputError: the header cannot be read.
        """
        with self._reader() as reader:
            return reader.header_line, reader.columns

    def rows(self) -> Generator[Row]:
        """Yield all records.

        Raises:
            UnreadableInputError: reading cannot go on; the records before have been yielded.
        """
        with self._reader() as reader:
            yield from reader.rows()

    @contextlib.contextmanager
    def _reader(self) -> Generator[Reader]:
        if self.format is Format.XLSX:
            self._file.seek(0)
            self._sheet = self._sheet or SheetReader(self._file)
            yield self._sheet
            return
        text = self._text()
        try:
            if self.format is Format.CSV:
                yield CSVReader(text, self._delimiter)
            else:
                yield JSONReader(text) if self.format is Format.JSON else JSONLinesReader(text)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise UnreadableInputError(1, "the .gz file is damaged or cut off: export it again") from None
        finally:
            with contextlib.suppress(ValueError):  # the file was closed first
                text.detach()

    def _text(self) -> io.TextIOWrapper:
        # Undecodable bytes become lone surrogates (replacement characters in UTF-16), which the readers report.
        errors = "replace" if self._encoding.startswith("utf-16") else "surrogateescape"
        return io.TextIOWrapper(self._unpacked(), encoding=self._encoding, errors=errors, newline="")

    def _unpacked(self) -> BinaryIO:
        self._file.seek(0)
        if not self._packed:
            return self._file
        return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=self._file, mode="rb"))))

    def _start(self) -> bytes:
        self._file.seek(0)
        return self._file.read(len(_GZIP))

    def _sniffed(self) -> tuple[str, Format]:
        """Return the encoding and the format, as the first bytes tell."""
        start = self._unpacked().read(_SNIFFED)
        if start.startswith(_ZIP):
            return "", self._workbook()
        for magic, words in _FOREIGN.items():
            if start.startswith(magic):
                raise ConfigurationError(f"{self.name} is {words}")
        self._encoding = next((name for bom, name in _BOMS.items() if start.startswith(bom)), "utf-8")
        if self._encoding == "utf-8" and start[1:4:2] == b"\0\0" and start[0]:
            self._encoding = "utf-16-le"
        text = start.decode(self._encoding, "replace").lstrip("\ufeff \t\r\n")
        if not text.startswith(("{", "[")):
            return self._encoding, Format.CSV
        if text.startswith("[") or _WRAPPED.match(text):
            return self._encoding, Format.JSON
        return self._encoding, Format.JSONL if self._one_on_each_line() else Format.JSON

    def _one_on_each_line(self) -> bool:
        """Tell JSON Lines from one JSON document of many lines."""
        if self.path.suffix.lower() in (".jsonl", ".ndjson"):
            return True
        text = self._text()
        try:
            line = next((line for line in iter(lambda: text.readline(MOST_CHARACTERS), "") if line.strip()), "")
            return isinstance(parse_json(line.lstrip("\ufeff")), dict)
        except ValueError:
            return False
        finally:
            text.detach()

    def _workbook(self) -> Format:
        if not self._packed:
            with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(self._file) as archive:
                sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
                if sum(sizes.values()) > _MOST_SHEET:
                    raise ConfigurationError(f"{self.name} is too large to be read as a workbook: save it as CSV UTF-8")
                if any(name.startswith("xl/") for name in sizes):
                    return Format.XLSX
                if "content.xml" in sizes:
                    raise ConfigurationError(f"{self.name} is an OpenDocument file: save it as .xlsx or as CSV UTF-8")
        raise ConfigurationError(f"{self.name} is a ZIP archive: unpack it, and give the list inside")

    def _hashed(self) -> str:
        place = self._file.tell()  # a reader may be in the middle of it
        self._file.seek(0)
        digest = hashlib.file_digest(cast(io.BufferedReader, self._file), "sha256").hexdigest()
        self._file.seek(place)
        return digest

    def _current(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def open_source(path: Path, options: SourceOptions | None = None, name: str | None = None) -> Generator[Source]:
    """Open a regular file as a source.

    Args:
        path: of the file.
        options: how to read it.
        name: how messages call it; by default its path.

    Raises:
        ConfigurationError: it cannot be opened, or is of a kind that cannot be read.
    """
    name = name or plain(path)
    try:
        # Checked before opening, since opening a pipe waits for its writer.
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ConfigurationError(f"{name} is no regular file: copy it into one")
        file = path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read ({error.strerror})") from None
    with file:
        yield Source(file, path, name, options or SourceOptions())
