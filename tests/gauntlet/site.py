"""Hold what the accounts of a simulation share: time, machines, processes, the store, and what happened to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import aiohttp

from truecaller_vbc import FileStore, MemoryStore, TokenPolicy
from truecaller_vbc.stores import TokenStore

from ..token.virtual_time import EPOCH, LoopClock
from .expected_failures import LEASE, WINDOW
from .faulty_store import ClockedStore, FaultyStore, StoreCondition, documents_in
from .freezer import Freezer
from .secret_scanner import SecretScanner
from .settings import Pools, Settings
from .simulated_session import Process, Session
from .simulation_loop import SimulationLoop

if TYPE_CHECKING:
    from .simulation import Simulation

POLICY: Final = TokenPolicy()
NEVER_YET: Final = float("-inf")


class Machine:
    """The clock of one machine, whose wall clock is off by so many seconds."""

    def __init__(self, right: LoopClock, off: float) -> None:
        self._right = right
        self.off = off
        self.now = right.now

    def wall(self) -> float:
        return self._right.wall() + self.off


class Site:
    """Where the processes run, each with a session for every account.

    Args:
        seed: of all random choices.
        directory: for the files of file stores.
        scanner: scans logs, errors and reprs.

    Attributes:
        accounts: one simulation for each, which adds itself.
        processes: how many were started.
    """

    def __init__(self, seed: int, directory: Path, scanner: SecretScanner) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        random.seed(seed)
        self.directory = directory
        self.scanner = scanner
        self.counts: dict[str, int] = {}
        self.loop = cast(SimulationLoop, asyncio.get_running_loop())
        self.clock = LoopClock(self.loop.time)
        self.now = self.clock.now
        self.loop.slept = lambda: self.clock.slept
        self.settings = Settings.drawn(self.rng)
        offsets = [self.rng.uniform(-3600.0, 3600.0) for _ in range(3)] if self.settings.clocks_apart else [0.0]
        self.machines = [Machine(self.clock, off) for off in offsets]
        self.pools = Pools.drawn(seed)
        self.condition = StoreCondition(self.now)
        self.condition.reached = self._reached
        self.freezer = Freezer(self)
        self.accounts: list[Simulation] = []
        self.processes = 0
        self.suspended_at = NEVER_YET
        self.suspended_for = 0.0
        self.suspensions: list[tuple[float, float]] = []
        self.stepped_at = NEVER_YET
        self.stepped_a_day = False
        self.stepped_back_until = NEVER_YET
        self.poisoned_at = NEVER_YET
        self.false_times: list[tuple[float, float]] = []
        self._met: set[tuple[int, str]] = set()
        self._https: dict[int, aiohttp.ClientSession] = {}
        self.store = self._new_store(0)

    @property
    def sessions(self) -> list[Session]:
        """The open sessions of the first account: one for each process."""
        return self.accounts[0].sessions

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    async def _reached(self, point: str, key: str | None = None) -> None:
        """Note what the running process does next, and freeze it there if that was drawn."""
        process, now = self.loop.process, self.now()
        if key is not None:
            first, *others = self.accounts
            account = next((it for it in others if it.key == key), first)
            is_read = point == "read" and self.settings.shared
            account.reached(point, process, documents_in(self.store).get(key) if is_read else None)
        met = (process, point)
        if point in ("read", "write") and met not in self._met and not self.settings.agree_on_time:
            # Without a clock in the store, each new process takes its wall clock, or the last write if that is later.
            self._met.add(met)
            self.stepped_at = now
            self.stepped_back_until = max(self.stepped_back_until, now)
        await self.freezer.reached(point)

    def poisoned(self, stamps: Iterable[float]) -> None:
        """Note that a document has false values, of which `stamps` are times in the future.

        A false time is believed for a window at most: from now on, or when it has come that near. An attempt counts
        for another window after it, if the store could not be repaired until then. Without a common
        clock, machines differ by up to two hours about when that is, and a window begins when a process first reads.
        """
        error = 0.0 if self.settings.agree_on_time else 7_200.0 + WINDOW

        self.poisoned_at = self.now()
        self.false_times = [(since, until) for since, until in self.false_times if until > self.now()]
        for stamp in (self.now() + WINDOW, *stamps):
            self.false_times.append((stamp - WINDOW - LEASE - error, stamp + WINDOW + LEASE + error))

    async def end(self) -> None:
        """Close everything, or sometimes leave the sessions open until the loop ends."""
        self.freezer.thaw_all()
        for account in self.accounts:
            await account.end_calls()
        if self.rng.random() < 0.3:
            self.count("loop ended with sessions open")
            for number in list(self._https):
                await self.end_process(number)
            return
        for session in list(self.sessions):
            await self.accounts[0].close_session(session)
        for account in self.accounts:
            account.checker.check_closed()

    # Processes

    def _new_store(self, number: int) -> FaultyStore:
        inner: TokenStore
        inner = FileStore(self.directory / f"{self.seed}-{number}.json") if self.settings.file else MemoryStore()
        if self.settings.store_clock:
            return ClockedStore(inner, self.condition, lambda: EPOCH + self.now())
        return FaultyStore(inner, self.condition)

    def new_process(self) -> Process:
        """Start a process, which has no session yet."""
        self.processes += 1
        number, shared = self.processes, self.settings.shared
        store = self.store if shared else self._new_store(number)
        http = self._new_http(number) if len(self.accounts) > 1 else None
        return Process(number, 0 if shared else number, self.rng.choice(self.machines), store, http)

    def _new_http(self, number: int) -> aiohttp.ClientSession:
        with self.loop.as_process(number):
            self._https[number] = http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return http

    async def end_process(self, number: int) -> None:
        """Close what the sessions of a process shared."""
        if (http := self._https.pop(number, None)) is not None:
            await http.close()
