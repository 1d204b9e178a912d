"""Provide clocks for decisions and for other machines, the time of a shared document, and the meaning of its stamps."""

from __future__ import annotations

import functools
import hashlib
import socket
import time
from collections.abc import Hashable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import attrs

from ..account import AccountLog
from .document import StoredClock

NEVER: Final = float("inf")
"""A time that does not come, on any clock."""
_MAX_REMEMBERED: Final = 160
"""More than the entries of one ledger, so that reading a document twice forgets none of its stamps in between."""
_NO_TIMES: Final[dict[Hashable, float]] = {}
"""Never written to: a session without a token needs no dictionary of its own."""


_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_DAY: Final = 86_460.0
"""The most by which the time of a document may differ from the wall clock (a day, and a minute for rounding)."""
_MINUTE: Final = 60.0
_SAME_CLOCK: Final = 600.0


class Clock(Protocol):
    """The time as the token code sees it; tests inject their own."""

    def now(self) -> float:
        """Return seconds since an arbitrary start. Never steps back, and counts the time that a machine sleeps."""
        ...

    def wall(self) -> float:
        """Return seconds since 1970 (UTC), which other machines understand but an administrator can change."""
        ...


class SystemClock:
    """Clocks of a machine that lacks ``CLOCK_BOOTTIME``.

    asyncio's clock (``CLOCK_MONOTONIC``) stops while a laptop or a virtual machine sleeps, but tokens age meanwhile.
    So `now` advances by whichever of the wall clock and the monotonic clock has advanced further: a token is never
    believed to be younger than it is.
    """

    __slots__ = ("_mono", "_now", "_wall")

    def __init__(self) -> None:
        self._mono = time.monotonic()
        self._wall = time.time()
        self._now = self._mono

    def now(self) -> float:
        """Return seconds since an arbitrary start."""
        mono, wall = time.monotonic(), time.time()
        self._now += max(mono - self._mono, wall - self._wall)
        self._mono, self._wall = mono, wall
        return self._now

    def wall(self) -> float:
        """Return seconds since 1970."""
        return time.time()


class BootClock:
    """Linux's ``CLOCK_BOOTTIME``, which cannot be set and counts suspend."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        # A partial of a C function: it costs readers of the token no Python frame.
        self.now: functools.partial[float] = functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Return seconds since 1970."""
        return time.time()


def system_clock() -> Clock:
    """Return the best clock of this machine."""
    return _boot_clock() if hasattr(time, "CLOCK_BOOTTIME") else SystemClock()


@functools.cache
def _boot_clock() -> BootClock:
    return BootClock()


def as_datetime(wall: float) -> datetime:
    """Convert seconds since 1970 to an aware datetime."""
    return datetime.fromtimestamp(wall, UTC)


class RemoteTimes:
    """Remember the local time that each foreign time stamp means, fixed when the stamp is first read.

    Converting a stamp again after a change of the wall clock would move deadlines, again with each change. Several
    stamps are kept, not only the newest: a write may fail, and then an old stamp is read once more.
    """

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times = _NO_TIMES

    def __len__(self) -> int:
        return len(self._times)

    def local(self, key: Hashable, at: float) -> float:
        """Return the local time first computed for `key`, or remember `at` for it."""
        at = self.get(key, at)
        self.fix(key, at)
        return at

    def get(self, key: Hashable, otherwise: float) -> float:
        """Return the local time that was remembered for `key`, or `otherwise`, which is not remembered."""
        return self._times.get(key, otherwise)

    def fix(self, key: Hashable, at: float) -> None:
        """Remember that `key` means the local time `at`, whatever was known before."""
        if self._times is _NO_TIMES:
            self._times = {}
        self._times.pop(key, None)
        self._times[key] = at
        if len(self._times) > _MAX_REMEMBERED:
            del self._times[next(iter(self._times))]


@attrs.define(eq=False, repr=False, weakref_slot=False)
class DocumentClock:
    """The time of a shared document, in seconds since 1970, on which all its stamps are.

    It is the store's own clock if the store has one. Else a process that has read the document before, or whose machine
    has written it, measures the time since then with a clock that cannot be set. Any other process takes its wall
    clock, or the time of the last write if that is later. A time that is more than a day away from the wall clock is
    not believed.

    Args:
        tolerance: how far clocks may differ before a stamp is doubted, in seconds.
        log: the account's.

    Attributes:
        shift: the time of the document minus `Clock.now`.
        unsure: whether the document was ahead of the wall clock, and this machine has not written it since.
        wrong: whether the last reading found a time in the document that cannot be true.
    """

    tolerance: float
    _log: AccountLog
    shift: float | None = attrs.field(init=False, default=None)
    unsure: bool = attrs.field(init=False, default=False)
    wrong: bool = attrs.field(init=False, default=False)
    _from_store: bool = attrs.field(init=False, default=False)
    _warned: bool = attrs.field(init=False, default=False)

    def read(
        self, now: float, wall: float, *, written_at: float | None, reading: StoredClock | None, store: float | None
    ) -> float:
        """Return the time of the document, and remember it.

        Args:
            now: on `Clock.now`.
            wall: the wall clock.
            written_at: the time of the last write by its writer; None if it is not known.
            reading: that of this machine; None if there is none in the document.
            store: the time on the store's own clock; None if it has none.
        """
        self.wrong = False
        if store is not None:
            self._from_store, self.unsure = True, False
            at = store
        elif self._from_store and self.shift is not None:
            at = now + self.shift  # the store's clock did not answer this time
        else:
            at = self._measured(now, wall, written_at, reading)
        if abs(at - wall) > _MINUTE:
            self._warn(at - wall)
        self.shift = at - now
        return at

    def _measured(self, now: float, wall: float, written_at: float | None, reading: StoredClock | None) -> float:
        if written_at is None:
            written_at = wall - _DAY
        elif written_at > wall + _DAY:
            self._warn(written_at - wall)
            self.wrong, written_at = True, wall - _DAY
        known = None if self.shift is None else now + self.shift
        if reading is not None and reading.uptime <= now:
            measured = reading.at + now - reading.uptime
            if abs(measured - wall) > _DAY:
                self.wrong = True
            elif measured >= written_at - self.tolerance:
                known, self.unsure = measured, False
        if known is None or abs(known - wall) > _DAY:
            known = wall
            self.unsure = written_at > wall + self.tolerance
        return max(known, written_at)

    def _warn(self, ahead: float) -> None:
        if not self._warned:
            self._warned = True
            self._log.warning(
                "the clock of this machine and the times in the token store differ by %.0f s: set the clocks of all "
                "machines that share it (NTP)",
                abs(ahead),
            )


def machine_id(clock: Clock) -> str | None:
    """Return a name for a clock that counts from the start of this machine; None for any other clock."""
    now = clock.now()
    for kind in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        if hasattr(time, kind) and abs(time.clock_gettime(getattr(time, kind)) - now) < 1.0:
            boot_id = _boot_id()
            return None if boot_id is None else _named(boot_id, kind)
    return None


def machine_by_wall(shift: float) -> str:
    """Return a name for a clock whose start is unknown.

    Args:
        shift: the wall clock minus that clock. Two processes of a host with the same difference have the same clock.
    """
    return _named(socket.gethostname(), str(shift // _SAME_CLOCK))


@functools.cache
def _boot_id() -> str | None:
    try:
        return _BOOT_ID.read_text()
    except OSError:
        return None


@functools.lru_cache
def _named(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
