"""Store documents in a file, for the processes, scripts and cron jobs of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import stat
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from ..errors import ConfigurationError, StoreError, StoreRefusedError
from ..files import replace_atomically
from ..secret import hidden
from .protocol import revision_of

_log = logging.getLogger("truecaller_vbc")
_T = TypeVar("_T")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_WRITE_LOCK_PATIENCE: Final = 2.0


class _DamagedError(Exception):
    """Report that the file does not contain documents."""


class FileStore:
    """Keep one document per account in a file that only its owner can read.

    The lease is a lock that the kernel releases when its owner dies. Every write goes to a new file, which is flushed
    and then replaces the old one, so that readers never see a partial file. Beside the file are its locks (``….lock``,
    ``….lease``) and, if it was damaged, its old content (``….corrupt``).

    Args:
        path: path of the file. Its directory is created if missing (mode 0700), and must not be one in which other
            users can replace the file.

    Raises:
        ConfigurationError: the path is not a file path.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            name = os.fsdecode(path)
            os.fsencode(name)  # lone surrogates cannot be part of a file name
        except (TypeError, UnicodeError):
            name = ""
        if not name.strip() or name.endswith(("/", os.sep)) or "\0" in name:
            raise ConfigurationError("FileStore(path) needs the path of a file, such as /var/lib/app/token.json")
        self._path = Path(name).absolute()

    async def read(self, key: str) -> str | None:
        """Return the document at `key`, or None.

        Raises:
            StoreRefusedError: the file, or its directory, is open to others.
            StoreError: it cannot be read.
        """
        documents = await self._off_the_loop(self._load_whole)
        return documents.get(key)

    async def write(self, key: str, document: str) -> bool:
        """Store `document` at `key` unless the stored one is newer; then return False.

        Raises:
            StoreRefusedError: the file, or its directory, is open to others.
            StoreError: it cannot be written: the disk is full, or the directory read-only.
        """
        document = hidden(document)  # tracebacks can show the locals of their frames
        return await self._off_the_loop(lambda: self._replace(key, document))

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:  # noqa: ARG002
        """Yield True if the lock was acquired. It ends with its owner, even after ``kill -9``."""
        from filelock import FileLock, Timeout  # noqa: PLC0415 - saves 75 ms for programs without a file store

        await self._off_the_loop(self._check_directory)
        lock = FileLock(f"{self._path}.{key[:8]}.lease", mode=0o600, thread_local=False)
        try:
            # Acquired on the loop: it does not block, and a thread that acquires for a cancelled task would keep it.
            lock.acquire(timeout=0)
            granted = True
        except Timeout:
            granted = False
        except OSError as error:
            raise self._failed("locked", error) from None
        try:
            yield granted
        finally:
            lock.release()

    async def _off_the_loop(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise self._failed("used", error) from None

    def _failed(self, done: str, error: OSError) -> StoreError:
        return StoreError(f"{self._path} could not be {done} ({error.strerror or type(error).__name__})")

    # Run in a thread

    def _load(self) -> dict[str, str]:
        self._check_directory()
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return {}
        except OSError:
            if self._path.is_symlink():
                raise self._refused("is a symbolic link: name the file itself") from None
            raise
        try:
            self._check_file(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
            return _parsed(hidden(file.read()))

    def _load_whole(self) -> dict[str, str]:
        """Return the documents; set a damaged file aside while holding the write lock, so that no new file is moved."""
        try:
            return self._load()
        except _DamagedError:
            with self._write_lock():
                return self._load_or_begin_anew()

    def _load_or_begin_anew(self) -> dict[str, str]:
        try:
            return self._load()
        except _DamagedError:
            aside = f"{self._path}.corrupt"
            self._path.replace(aside)
            _log.warning("%s was damaged and is now %s; a new one is begun", self._path, aside)
            return {}

    def _replace(self, key: str, document: str) -> bool:
        self._check_directory()
        with self._write_lock():
            documents = self._load_or_begin_anew()
            if revision_of(documents.get(key)) >= revision_of(document):
                return False
            text = hidden(json.dumps({"documents": {**documents, key: document}}))
            with replace_atomically(self._path) as file:
                file.write(text.encode())
            return True

    @contextlib.contextmanager
    def _write_lock(self) -> Generator[None]:
        from filelock import FileLock, Timeout  # noqa: PLC0415

        try:
            with FileLock(f"{self._path}.lock", timeout=_WRITE_LOCK_PATIENCE, mode=0o600, thread_local=False):
                yield
        except Timeout:
            raise StoreError(f"{self._path} is being written by another process for too long") from None

    # Check the owner and mode

    def _check_directory(self) -> None:
        directory = self._path.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name != "posix":
            return
        status = directory.stat()
        if status.st_uid not in (os.geteuid(), 0):
            raise self._refused("is in a directory of another user: use one of your own")
        if status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
            raise self._refused("is in a directory that others can write: chmod go-w it, or use another")

    def _check_file(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._refused("is not a regular file")
        if os.name != "posix":
            return
        if status.st_uid != os.geteuid():
            raise self._refused("belongs to another user: each user needs a file of its own")
        if status.st_mode & _OTHERS:
            raise self._refused(
                "can be read by others, and has a token in it: chmod 600 it, and regenerate the API key"
            )

    def _refused(self, why: str) -> StoreRefusedError:
        return StoreRefusedError(f"{self._path} {why}")

    def __repr__(self) -> str:
        return f"FileStore({str(getattr(self, '_path', ''))!r})"


def _parsed(text: str) -> dict[str, str]:
    """Return the documents by key.

    Raises:
        _DamagedError: the text does not contain documents.
    """
    try:
        return {str(key): hidden(str(document)) for key, document in json.loads(text)["documents"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Without a cause, which may quote the file's content.
        raise _DamagedError from None
