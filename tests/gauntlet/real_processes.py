"""Run real processes on a real store, inflict faults and signals, and check the invariants from outside."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from truecaller_vbc import TokenPolicy
from truecaller_vbc.sandbox import Sandbox, SandboxRules
from truecaller_vbc.sandbox.faults import FaultOptions
from truecaller_vbc.sandbox.tokens import fingerprint

from ..redis_server import RedisServer
from .gauntlet_worker import CALLERS, SCALE
from .invariants import Violation
from .real_fleet import Fleet, until_all_succeed
from .recorder import Recorder
from .secret_scanner import SecretScanner

POLICY: Final = TokenPolicy().scaled(SCALE)
REFRESH_AFTER: Final = (POLICY.lifetime - POLICY.refresh_ahead - POLICY.refresh_jitter).total_seconds()
WINDOW: Final = POLICY.mint_window.total_seconds()
CALM: Final = POLICY.lease.total_seconds() + WINDOW + 1.0
"""Time after which a fault has no effect left: the lease of a killed process, the window, and a busy machine."""
Store: TypeAlias = RedisServer | Path
MOST_DESCRIPTORS: Final = 40
MOST_TASKS: Final = CALLERS + 8
CONNECTION_ERRORS: Final = (
    "ClientConnectorError",
    "ClientOSError",
    "ClientPayloadError",
    "ConnectionResetError",
    "ServerDisconnectedError",
    "TimeoutError",
)


@attrs.define
class RealReport:
    """Totals of one run."""

    counts: Counter[str] = attrs.field(factory=Counter[str])
    processes: int = 0
    mints: int = 0
    calls: int = 0
    slowest_recovery: float = 0.0

    def lines(self) -> list[str]:
        """Return the totals as text to print."""
        totals = f"processes {self.processes}, calls {self.calls}, mints {self.mints}"
        slowest = f"slowest recovery {self.slowest_recovery:.2f} s"
        return [totals, slowest, *(f"{count:>6}  {what}" for what, count in sorted(self.counts.items()))]


class RealGauntlet:
    """Run one fleet with its sandbox and its store.

    Args:
        seed: chooses the faults; their exact timing depends on the machine.
        store: a Redis server, or the path of a file.
        directory: for logs.
        size: number of processes at a time.
    """

    def __init__(self, seed: int, store: Store, directory: Path, size: int = 3) -> None:
        self.rng = random.Random(seed)
        self.store = store
        self.size = size
        self.sandbox = Sandbox(SandboxRules(token_lifetime=POLICY.lifetime.total_seconds(), mint_window=WINDOW))
        self.fleet: Fleet
        self.report = RealReport()
        self._directory = directory
        self._recorder = Recorder()
        self._fault_times: list[tuple[float, float]] = []

    async def run(self, seconds: float) -> RealReport:
        """Inflict faults for `seconds`, a killed minting process first, and check the invariants.

        Raises:
            Violation: an invariant does not hold.
        """
        self._recorder.attach(self.sandbox, time.time)
        url = self.store.url if isinstance(self.store, RedisServer) else f"file://{self.store}"
        async with self.sandbox:
            self.fleet = Fleet(self.sandbox, url, self._directory, self.rng)
            try:
                began = time.time()
                for _member in range(self.size):
                    await self.fleet.start()
                await self._recovers("the start", began)
                end = time.monotonic() + seconds
                await self._inflict(killed_in_mid_mint)
                while time.monotonic() < end:
                    await self._inflict(*self.rng.choices(_FAULTS, _WEIGHTS))
                codes = await self.fleet.end()
            finally:
                for member in list(self.fleet.members):
                    await self.fleet.kill(member)
        self._check(codes)
        self._count()
        return self.report

    async def _inflict(self, fault: RealFault) -> None:
        name = fault.__name__.replace("_", " ")
        self.report.counts[name] += 1
        began = time.time()
        await fault(self)
        self.sandbox.clear_faults()
        await self._recovers(name, began)
        await asyncio.sleep(self.rng.choice((0.0, 0.0, 1.0)))

    async def _recovers(self, name: str, began: float) -> None:
        # All processes must succeed: a new one also needs the time to start an interpreter.
        seconds = await until_all_succeed(self.fleet, CALM + 10)
        if seconds is None:
            raise Violation("recovery", f"no successful call in {CALM + 10:.0f} s after {name}")
        self.report.slowest_recovery = max(self.report.slowest_recovery, seconds)
        self._fault_times.append((began, time.time() + CALM))

    # Afterwards

    def _check(self, codes: list[int | None]) -> None:
        if any(codes):
            raise Violation("typed errors", f"processes ended with {codes}")
        self._check_reports()
        self._check_mints()
        self._check_secrets()

    def _excused(self, at: float) -> bool:
        return any(began <= at <= over for began, over in self._fault_times)

    def _check_reports(self) -> None:
        for line in self.fleet.reports():
            if "bug" in line or line.get("error") not in (None, *CONNECTION_ERRORS) or line.get("dated") is False:
                raise Violation("typed errors", str(line))
            if "token_error" in line and not self._excused(line["at"]):
                raise Violation("no call lacks a token", f"without any fault: {line}")
            if line.get("descriptors", 0) > MOST_DESCRIPTORS or line.get("tasks", 0) > MOST_TASKS or line.get("left"):
                raise Violation("nothing grows", str(line))

    def _check_mints(self) -> None:
        for at in self._recorder.refusals:
            if not self._excused(at):
                raise Violation("quota", f"the server refused a mint at {at}, without any fault")
        for earlier, later in pairwise(self._recorder.mints):
            needless = later.at - earlier.at < REFRESH_AFTER and fingerprint(earlier.value) not in self._recorder.dead
            if needless and not self._excused(later.at):
                raise Violation("one mint for one need", f"two within {later.at - earlier.at:.2f} s without any fault")

    def _check_secrets(self) -> None:
        scanner = SecretScanner()
        scanner.known |= {str(self.sandbox.credentials.api_key), *(mint.value for mint in self._recorder.mints)}
        for path in self._directory.glob("worker-*.log"):
            text = path.read_text(errors="replace")
            scanner.scan(text, path.name)
            for sign in ("was never retrieved", "was destroyed", "Unclosed", "Traceback", "should not"):
                if sign in text:
                    raise Violation(
                        "typed errors", f"{sign!r} in what a process logged: {text[text.index(sign) - 500 :][:1500]}"
                    )
        if scanner.found:
            raise Violation("no secret is shown", str(scanner.found))

    def _count(self) -> None:
        self.report.processes = len(self.fleet.dead)
        self.report.mints = len(self._recorder.mints)
        for line in self.fleet.reports():
            for name in ("status", "token_error", "error"):
                if name in line:
                    self.report.calls += 1
                    self.report.counts[f"call: {line[name]}"] += 1


RealFault: TypeAlias = "Callable[[RealGauntlet], Awaitable[None]]"

_ANSWERS: Final[list[FaultOptions]] = [
    {"status": 503},
    {"status": 503, "headers": {"Retry-After": "1"}},
    {"status": 429},
    {"status": 429, "headers": {"Retry-After": "1"}},
    {"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}},
    {"status": 401},
    {"status": 200, "body": "<html>"},
    {"status": 200, "body": "<html>", "mint": True},
    {"drop": "before"},
    {"drop": "after"},
    {"drop": "mid"},
    {"delay": 0.5},
    {"delay": 3.0},
]


async def wrong_answers(gauntlet: RealGauntlet) -> None:
    gauntlet.sandbox.fail_next("token", times=gauntlet.rng.choice((1, 3)), **gauntlet.rng.choice(_ANSWERS))
    gauntlet.sandbox.revoke_all()
    await asyncio.sleep(gauntlet.rng.uniform(0.1, 1.0))


async def revoked_repeatedly(gauntlet: RealGauntlet) -> None:
    for _ in range(gauntlet.rng.choice((1, 5, 20))):
        gauntlet.sandbox.revoke_all()
        await asyncio.sleep(gauntlet.rng.uniform(0.0, 0.2))


async def connections_refused(gauntlet: RealGauntlet) -> None:
    await gauntlet.sandbox.pause_listening()
    await asyncio.sleep(gauntlet.rng.uniform(0.1, 1.0))
    await gauntlet.sandbox.resume_listening()


async def connections_dropped(gauntlet: RealGauntlet) -> None:
    await gauntlet.sandbox.drop_connections()


async def stopped_beyond_the_life_of_a_token(gauntlet: RealGauntlet) -> None:
    await gauntlet.fleet.stop_for(gauntlet.rng.choice(gauntlet.fleet.members), gauntlet.rng.uniform(3.2, 4.5))


async def killed(gauntlet: RealGauntlet) -> None:
    await gauntlet.fleet.kill(gauntlet.rng.choice(gauntlet.fleet.members))
    await gauntlet.fleet.start()


async def killed_in_mid_mint(gauntlet: RealGauntlet) -> None:
    """Kill the process that mints, while others wait for its token."""
    leader, *others = gauntlet.fleet.members
    for member in others:
        await gauntlet.fleet.kill(member)
    gauntlet.sandbox.fail_next("token", delay=float("inf"))
    gauntlet.sandbox.revoke_all()
    await _until_the_mint_is_under_way(gauntlet)
    for _ in range(gauntlet.size):
        await gauntlet.fleet.start()
    await gauntlet.fleet.kill(leader)


async def stopped_in_mid_mint(gauntlet: RealGauntlet) -> None:
    """Stop the minting process beyond its lease: another takes over, and the late one must not overwrite its token."""
    gauntlet.sandbox.fail_next("token", delay=0.3)
    gauntlet.sandbox.revoke_all()
    await _until_the_mint_is_under_way(gauntlet)
    await gauntlet.fleet.stop_for(gauntlet.rng.choice(gauntlet.fleet.members), 4.5)


async def _until_the_mint_is_under_way(gauntlet: RealGauntlet) -> None:
    async with asyncio.timeout(20):
        while gauntlet.sandbox.faults_left("token"):
            await asyncio.sleep(0.005)


async def store_lost(gauntlet: RealGauntlet) -> None:
    """Kill Redis and start it empty, or damage the file."""
    if isinstance(gauntlet.store, RedisServer):
        gauntlet.store.kill()
        await asyncio.sleep(gauntlet.rng.choice((0.1, 2.0, 4.0)))
        gauntlet.store.start()
    elif gauntlet.store.exists():
        gauntlet.store.write_text(gauntlet.rng.choice(("", "{", "\x00" * 40)))


_WEIGHTED: Final[dict[RealFault, int]] = {
    wrong_answers: 4,
    revoked_repeatedly: 2,
    connections_refused: 1,
    connections_dropped: 1,
    stopped_beyond_the_life_of_a_token: 1,
    killed: 1,
    killed_in_mid_mint: 1,
    stopped_in_mid_mint: 1,
    store_lost: 1,
}
_FAULTS: Final = list(_WEIGHTED)
_WEIGHTS: Final = list(_WEIGHTED.values())
