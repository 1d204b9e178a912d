"""Freeze a simulated process while it owns the lease, or at any other moment, and thaw it later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final
from unittest import mock

from truecaller_vbc.stores import file, locks, memory

from .frozen_processes import SIMULATION

if TYPE_CHECKING:
    from .simulated_session import Call
    from .site import Site

_POINTS: Final = ("granted", "granted", "write", "write", "read", "minting", "minting", "release", "any")
_SECONDS: Final = (10.0, 25.0, 40.0, 100.0, 900.0, 4_000.0)
_STORE_TIME: Final = 10.0
_INTO_A_MINT: Final = (0.0, 0.0, 0.01, 0.3, 3.0)


class Freezer:
    """Freeze the process of a session at a chosen point.

    Args:
        site: whose loop runs the processes.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._armed: str | None = None
        self._seconds = 0.0
        self._frozen_at: dict[int, float] = {}
        self._thawed_at: dict[int, float] = {}
        self._awake_since: dict[int, float] = {}

    def arm(self) -> str:
        """Draw a point at which the next process that comes there is frozen, and for how long."""
        rng = self._site.rng
        point, self._seconds = rng.choice(_POINTS), rng.choice(_SECONDS)
        if point != "any":
            self._armed = point
        elif running := self._running():
            self._freeze(rng.choice(running), "any")
        return f"{point} for {self._seconds:g}"

    def _running(self) -> list[int]:
        site = self._site
        return [it.number for it in site.sessions if it.number not in site.loop.stopped]

    async def reached(self, point: str) -> None:
        """Freeze the running process here if that was drawn; the call goes on when it is thawed."""
        process = self._site.loop.process
        if point != self._armed or process == SIMULATION:
            return
        self._armed = None
        if point == "minting" and (delay := self._site.rng.choice(_INTO_A_MINT)):
            with self._site.loop.as_process(SIMULATION):
                self._site.loop.call_later(delay, self._freeze, process, f"{delay:g} s into a mint")
            return
        self._freeze(process, point)
        await asyncio.sleep(0)

    def _freeze(self, process: int, where: str) -> None:
        loop = self._site.loop
        self._site.count(f"frozen: {where}")
        loop.stop_process(process)
        self._frozen_at[process] = self._site.now()
        with loop.as_process(SIMULATION):
            loop.call_later(self._seconds, self._thaw, process)

    def _thaw(self, process: int) -> None:
        loop = self._site.loop
        if process in loop.stopped:
            self._thawed_at[process] = loop.time()
            self._awake_since[process] = self._site.now()
            loop.continue_process(process)

    def thaw_all(self) -> None:
        """Let every process run, and freeze none."""
        self._armed = None
        for process in sorted(self._site.loop.stopped):
            self._thaw(process)

    def last_frozen(self, process: int) -> float:
        """Return the time of the loop until which a process was frozen, which is now if it still is."""
        loop = self._site.loop
        return loop.time() if process in loop.stopped else self._thawed_at.get(process, float("-inf"))

    def was_frozen(self, process: int, since: float, until: float) -> bool:
        """Return whether a process was last frozen between two times."""
        return since <= self._frozen_at.get(process, float("-inf")) <= until

    def frozen_during(self, call: Call) -> list[float]:
        """Return when the process of a call was last frozen, if that was during the call."""
        frozen_at = self._frozen_at.get(call.session, float("-inf"))
        return [frozen_at] if call.began <= frozen_at else []

    def another_thawed(self, process: int, since: float, until: float) -> bool:
        """Return whether another process went on between two times: it may then have written what it knew before."""
        return any(since <= at <= until for other, at in self._awake_since.items() if other != process)

    def frozen_for(self, process: int, since: float) -> float:
        """Return for how many seconds a process was last frozen; 0 if that began before `since`."""
        frozen_at = self._frozen_at.get(process)
        if frozen_at is None or frozen_at < since:
            return 0.0
        return max(0.0, self._awake_since.get(process, frozen_at) - frozen_at)

    def had_time(self, process: int, since: float) -> bool:
        """Return whether a process could store what it learned at `since`: it may have been frozen before it did."""
        if process in self._site.loop.stopped:
            return self._frozen_at[process] > since + _STORE_TIME
        awake = self._awake_since.get(process, since)
        return (
            self._frozen_at.get(process, since) > since + _STORE_TIME
            or max(awake, since) == since
            or (awake + _STORE_TIME < self._site.now())
        )

    def began(self, call: Call) -> float:
        """Return when a call began, or shortly before its process was frozen if it is the first since.

        Such a call may join an attempt that had failed already, and be told of that.
        """
        thawed = self._thawed_at.get(call.session)
        if thawed is None or call.began_loop - thawed > 1.0:
            return call.began
        return min(call.began, self._frozen_at[call.session] - _STORE_TIME)


@contextmanager
def stores_in_virtual_time(now: Callable[[], float], wall: Callable[[], float]) -> Generator[None]:
    """Let the leases, locks and documents of the real stores end by the time of the simulation."""
    virtual = SimpleNamespace(
        time=now, monotonic=now, clock_gettime=lambda _: now(), sleep=time.sleep, CLOCK_BOOTTIME=time.CLOCK_BOOTTIME
    )
    dated = SimpleNamespace(time=wall)
    with (
        mock.patch.object(memory, "time", virtual),
        mock.patch.object(locks, "time", virtual),
        mock.patch.object(file, "time", dated),
    ):
        yield
