"""Write private files durably: open them for their owner only, replace them atomically, flush directories."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import IO


def open_private(path: Path, *, new: bool = False) -> IO[bytes]:
    """Open a file for reading and writing, creating it with mode 0600 if it is missing; fail if a `new` one exists."""
    flags = os.O_RDWR | os.O_CREAT | (os.O_EXCL if new else 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "r+b")


@contextlib.contextmanager
def replace_atomically(path: Path) -> Generator[IO[bytes]]:
    """Yield a new private file that takes the place of `path` when the block ends, flushed to disk.

    After an exception `path` is unchanged and the new file is gone.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with open_private(temporary, new=True) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Flush the entries of a directory to disk, where the system and the file system support it."""
    if os.name != "posix":
        return
    # The file itself is flushed already; some network and container file systems cannot flush a directory.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
