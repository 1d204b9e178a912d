"""Store documents in a file, for the processes, scripts and cron jobs of one machine."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from ..errors import ConfigurationError, StoreError, StoreRefusedError
from ..files import replace_atomically
from ..secret import hidden
from .locks import HeldLock, lock, try_lock
from .protocol import StoreUnusableError, revision_of
from .threads import run_in_thread

_log = logging.getLogger("truecaller_vbc")
_T = TypeVar("_T")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
# A writer that is stopped for longer loses the lock; the others wait a little longer than that.
_WRITE_SECONDS: Final = 2.0
_WRITE_PATIENCE: Final = 3.0
_IS_POSIX: Final = os.name == "posix"
_FORGET_AFTER: Final = 2 * 3600.0
_STAMPS: Final = frozenset({"at", "starts_at", "retry_at", "full_until", "written_at"})
# What no waiting mends, and what to do about it.
_REMEDIES: Final = {
    errno.EBUSY: "a file that is mounted by itself cannot be replaced, so mount its directory",
    errno.EROFS: "the file system is read-only, so use a path on another one",
    errno.EACCES: "this user may not write there, so use a directory of its own",
    errno.EPERM: "this user may not write there, so use a directory of its own",
    errno.ENOTDIR: "a part of the path is a file, so use another path",
    errno.EISDIR: "it is a directory, so name a file in it",
    errno.ENAMETOOLONG: "the name is too long, so use a shorter one",
    errno.ELOOP: "the path goes through a symbolic link, so name the file itself",
    errno.ENOENT: "its directory cannot be made, so use another path",
    errno.ENOSPC: "the disk is full, so free space or use another path",
    getattr(errno, "EDQUOT", errno.ENOSPC): "the disk quota is used up, so free space or use another path",
    errno.EFBIG: "this process may not write files of this size, so raise its limit (ulimit -f)",
    errno.ENXIO: "it is not a regular file, so use another path",
}
_OTHER_REMEDY: Final = "this path does not work as a file, so use another one"
# Shortages and disturbances, which may pass by themselves; any other error of the system lasts.
_PASSING: Final = frozenset(
    getattr(errno, name, None)
    for name in (
        *("EAGAIN", "EINTR", "EIO", "EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "EDEADLK", "ETXTBSY", "ESTALE"),
        *("ETIMEDOUT", "ENOTCONN", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EHOSTDOWN", "EHOSTUNREACH"),
        *("ENETDOWN", "ENETUNREACH", "EREMOTEIO"),
    )
)
# A file for thousands of accounts has a few million characters; a longer one would take the memory of the process.
_MAX_LENGTH: Final = 16 * 1024 * 1024


class _DamagedError(Exception):
    """Report that the file does not contain documents."""


class FileStore:
    """Keep one document per account in a file that only its owner can read.

    The lease is a lock that ends when its owner dies, or after its seconds where the owner is stopped. Every write goes
    to a new file, which is flushed and then replaces the old one, so that readers never see a partial file. Beside the
    file are its locks (``….lock``, ``….lease``) and, if it was damaged, its old content (``….corrupt``).

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
        documents = await self._in_thread(self._load_whole)
        return documents.get(key)

    async def write(self, key: str, document: str) -> bool:
        """Store `document` at `key` unless the stored one is newer; then return False.

        Raises:
            StoreRefusedError: the file, or its directory, is open to others.
            StoreError: it cannot be written: the disk is full, or the directory read-only.
        """
        document = hidden(document)  # tracebacks can show the locals of their frames
        return await self._in_thread(lambda: self._replace(key, document))

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        """Yield True if the lock was acquired. It ends with its owner, even after ``kill -9``, or after `seconds`.

        Raises:
            StoreRefusedError: the place cannot be locked.
            StoreError: it cannot be locked now.
        """
        path = Path(f"{self._path}.{key[:8]}.lease")

        def take() -> HeldLock | None:
            self._check_directory()
            return try_lock(path, seconds)

        # A lock that arrives after its task was cancelled is released again.
        held = await self._in_thread(take, _release)
        try:
            yield held is not None
        finally:
            if held is not None:
                held.release()

    async def _in_thread(self, work: Callable[[], _T], undo: Callable[[_T], object] | None = None) -> _T:
        try:
            return await run_in_thread(work, undo)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> StoreError:
        """Return an outage, or what has to be changed if no waiting helps."""
        reason = error.strerror or type(error).__name__
        if error.errno is None or error.errno in _PASSING:
            return StoreError(f"{self._path} could not be used ({reason})")
        remedy = _REMEDIES.get(error.errno, _OTHER_REMEDY)
        return StoreUnusableError(f"{self._path} cannot be used ({reason}): {remedy}")

    # Run in a thread

    def _load(self) -> dict[str, str]:
        self._check_directory()
        try:
            # Not blocking, or a pipe at the path would wait for its writer.
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            descriptor = os.open(self._path, flags | getattr(os, "O_BINARY", 0))
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
            return _parsed(hidden(file.read(_MAX_LENGTH + 1)))

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
        with self._write_lock() as held:
            documents = self._load_or_begin_anew()
            if revision_of(documents.get(key)) >= revision_of(document):
                return False
            now = _time_of(document)
            alive = {name: other for name, other in documents.items() if not _has_ended(other, now)}
            text = hidden(json.dumps({"documents": {**alive, key: document}}))
            if len(text) > _MAX_LENGTH:
                raise StoreUnusableError(
                    f"{self._path} has too many accounts: use a file for each, or a redis:// store"
                )
            with replace_atomically(self._path) as file:
                file.write(text.encode())
                if not held.is_mine():
                    raise StoreError(f"{self._path} was locked for too long: another process writes it now")
            return True

    @contextlib.contextmanager
    def _write_lock(self) -> Generator[HeldLock]:
        with lock(Path(f"{self._path}.lock"), _WRITE_SECONDS, _WRITE_PATIENCE) as held:
            if held is None:
                raise StoreError(f"{self._path} is being written by another process for too long")
            yield held

    # Check the owner and mode

    def _check_directory(self) -> None:
        directory = self._path.parent
        _make_private(directory)
        if not _IS_POSIX:
            return
        status = directory.stat()
        if status.st_uid not in (os.geteuid(), 0):
            raise self._refused("is in a directory of another user: use one of your own")
        if status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX:
            raise self._refused("is in a directory that others can write: chmod go-w it, or use a sub-directory of it")

    def _check_file(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise StoreUnusableError(f"{self._path} is not a regular file: remove it, or use another path")
        if not _IS_POSIX:
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
    if len(text) > _MAX_LENGTH:
        raise _DamagedError
    try:
        return {str(key): hidden(str(document)) for key, document in json.loads(text)["documents"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # Without a cause, which may quote the file's content.
        raise _DamagedError from None


def _release(held: HeldLock | None) -> None:
    if held is not None:
        held.release()


def _make_private(directory: Path) -> None:
    """Create a directory and its missing parents, each readable by its owner only."""
    if not directory.is_dir():
        if directory.parent != directory:
            _make_private(directory.parent)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)


def _time_of(document: str) -> float:
    """Return when a document is written: the wall clock, or its own time if that is earlier.

    The wall clock may have been set forward, which the time stamps of documents do not follow.
    """
    try:
        return min(time.time(), float(json.loads(document)["written_at"]))
    except (ValueError, RecursionError, OverflowError, LookupError, TypeError):
        return time.time()


def _has_ended(document: str, now: float) -> bool:
    """Tell whether all time stamps of a document are so old that it can be forgotten, as Redis does."""
    try:
        stamps = list(_stamps(json.loads(document)))
    except (ValueError, RecursionError):
        return False
    return bool(stamps) and max(stamps) < now - _FORGET_AFTER


def _stamps(value: Any) -> Generator[float]:
    if isinstance(value, dict):
        fields = cast(dict[str, Any], value)
        yield from (stamp for name, stamp in fields.items() if name in _STAMPS and isinstance(stamp, int | float))
        for inner in fields.values():
            yield from _stamps(inner)
    elif isinstance(value, list):
        for inner in cast(list[Any], value):  # type: ignore[redundant-cast]
            yield from _stamps(inner)
