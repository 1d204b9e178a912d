"""Lock files between processes, for a limited time."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import time
import weakref
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs

from .protocol import StoreUnusableError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})
_OPTIONS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LONGEST: Final = 24 * 3600.0
# A gate is held for microseconds, unless its owner was stopped in it, or was forked in it and the child lives on.
_GATE_SECONDS: Final = 2.0
# What was seen of locks that others hold, and since when.
_seen: Final[dict[Path, tuple[tuple[int, int], float]]] = {}


@attrs.define(eq=False, weakref_slot=True)
class HeldLock:
    """A lock that this process holds, until it is released, the process dies, or its seconds have passed.

    Args:
        path: the lock file.
        descriptor: of the file, which has the kernel's lock.
    """

    path: Path
    descriptor: int

    def __attrs_post_init__(self) -> None:
        _held.add(self)

    def is_mine(self) -> bool:
        """Tell whether no other process has taken the lock over, after this one was stopped for too long."""
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(self.descriptor), self.path.stat())
        return False

    def release(self) -> None:
        """Give the lock back. May be called again."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            _unlock(descriptor)

    def forget(self) -> None:
        """Leave the lock to the parent of this forked process."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


_held: Final[weakref.WeakSet[HeldLock]] = weakref.WeakSet()


def _forget_in_child() -> None:
    """Close the inherited descriptors, or a child would keep the locks of a parent that dies."""
    for held in list(_held):
        held.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def try_lock(path: Path, seconds: float) -> HeldLock | None:
    """Take the lock if it is free, or if its owner has held it for longer than its seconds. Never waits.

    The kernel frees the lock when its owner dies. An owner that is stopped (SIGSTOP, a frozen container), or that runs
    on another host, loses it after its seconds: another file takes the place of the one that it has locked.

    Raises:
        StoreUnusableError: the file system has no locks, or the lock file is not a regular file.
        OSError: the file cannot be opened.
    """
    if fcntl is None:
        return _try_filelock(path)
    # It lets one process at a time look at the lock and take it.
    gate_path = Path(f"{path}.gate")
    gate = _flock(gate_path)
    if gate is None:
        if _is_kept(gate_path, _GATE_SECONDS):
            gate_path.unlink(missing_ok=True)
        return None
    try:
        os.utime(gate)  # each owner leaves another time
        held = _flock(path)
        if held is None:
            if not _is_over(path, seconds):
                return None
            new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
            held = _flock(new)
            if held is None:
                return None
            new.replace(path)
        try:
            os.ftruncate(held, 0)
            os.pwrite(held, json.dumps(_deadline(seconds)).encode(), 0)
        except BaseException:
            _unlock(held)
            raise
        return HeldLock(path, held)
    finally:
        _unlock(gate)


def _unlock(descriptor: int) -> None:
    """Unlock a file and close it. Closing alone would leave it locked while a forked process has a copy."""
    assert fcntl is not None  # noqa: S101 - checked by try_lock
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _flock(path: Path) -> int | None:
    """Open and lock a file. Return its descriptor, or None if another process has locked it."""
    assert fcntl is not None  # noqa: S101 - checked by try_lock
    descriptor = os.open(path, _OPTIONS, 0o600)
    try:
        _check_regular(path, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            os.close(descriptor)  # replaced in between
            return None
    except (BlockingIOError, FileNotFoundError):
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        if error.errno in _NO_LOCKS:
            raise StoreUnusableError(
                f"the file system of {path} has no locks: use a path on another one, or a redis:// store"
            ) from None
        raise
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: Path, descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise StoreUnusableError(f"{path} is not a regular file: remove it, or use another path")


def _deadline(seconds: float) -> dict[str, Any]:
    """Return when a lock ends, by the wall clock and by the clock since boot, which cannot be set."""
    return {"wall": time.time() + seconds, "boot": _boot_time() + seconds, "boot_id": _boot_id()}


def _is_over(path: Path, seconds: float) -> bool:
    """Tell whether the time of a held lock has passed; if its owner wrote none, whether it was seen for `seconds`."""
    try:
        deadline = json.loads(path.read_bytes()[:1000])
        if deadline["boot_id"] == _boot_id():
            left = float(deadline["boot"]) - _boot_time()
        else:
            left = float(deadline["wall"]) - time.time()
    except (OSError, ValueError, KeyError, TypeError):
        return _is_kept(path, seconds)
    return not 0 < left < _LONGEST


def _is_kept(path: Path, seconds: float) -> bool:
    """Tell whether this process has seen the same owner hold a lock for longer than `seconds`."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    now, owner = time.monotonic(), (status.st_ino, status.st_mtime_ns)
    last, since = _seen.get(path, (owner, now))
    _seen[path] = owner, since if last == owner else now
    return last == owner and now - since > seconds


def _boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _try_filelock(path: Path) -> HeldLock | None:
    """Lock with the library that knows Windows, where the lock ends with its owner only."""
    from filelock import FileLock, Timeout  # noqa: PLC0415

    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return _LibraryLock(path, -1, lock)


@attrs.define(eq=False)
class _LibraryLock(HeldLock):
    _lock: Any

    def is_mine(self) -> bool:
        return bool(self._lock.is_locked)

    def release(self) -> None:
        self._lock.release()


@contextlib.contextmanager
def lock(path: Path, seconds: float, patience: float) -> Generator[HeldLock | None]:
    """Hold a lock in a block, after waiting for it for at most `patience` seconds; yield None if it stays taken."""
    end = time.monotonic() + patience
    held = try_lock(path, seconds)
    while held is None and time.monotonic() < end:
        time.sleep(0.01)
        held = try_lock(path, seconds)
    try:
        yield held
    finally:
        if held is not None:
            held.release()
