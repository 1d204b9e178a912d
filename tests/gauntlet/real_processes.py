"""The gauntlet in real time: real processes, a real store, real signals, and the same invariants from outside."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Final

import attrs

from truecaller_vbc import TokenPolicy
from truecaller_vbc.sandbox import Sandbox, SandboxRules
from truecaller_vbc.sandbox.tokens import fingerprint

from ..redis_server import RedisServer
from .gauntlet_worker import CALLERS, SCALE
from .invariants import Violation
from .real_faults import FAULTS, WEIGHTS, Store
from .real_fleet import Fleet, until_all_succeed
from .recorder import Witness
from .secret_scanner import SecretsWatch

POLICY: Final = TokenPolicy().scaled(SCALE)
SOFT: Final = (POLICY.lifetime - POLICY.refresh_ahead - POLICY.refresh_jitter).total_seconds()
WINDOW: Final = POLICY.mint_window.total_seconds()
CALM: Final = POLICY.lease.total_seconds() + WINDOW + 1.0
"""So long after a fault nothing may be left of it: the lease of a dead owner, the window, and a busy machine."""
MOST_DESCRIPTORS: Final = 40
MOST_TASKS: Final = CALLERS + 8


@attrs.define
class RealReport:
    """Totals."""

    counts: Counter[str] = attrs.field(factory=Counter[str])
    processes: int = 0
    mints: int = 0
    calls: int = 0
    slowest_recovery: float = 0.0

    def lines(self) -> list[str]:
        """For people."""
        totals = f"processes {self.processes}, calls {self.calls}, mints {self.mints}"
        slowest = f"slowest recovery {self.slowest_recovery:.2f} s"
        return [totals, slowest, *(f"{count:>6}  {what}" for what, count in sorted(self.counts.items()))]


class RealGauntlet:
    """One fleet, its sandbox and its store.

    Args:
        seed: of what is done; when it takes effect is up to the machine.
        store: a Redis server, or the path of a file.
        place: for logs.
        size: processes at a time.
    """

    def __init__(self, seed: int, store: Store, place: Path, size: int = 3) -> None:
        self.rng = random.Random(seed)
        self.store = store
        self.size = size
        self.sandbox = Sandbox(SandboxRules(token_lifetime=POLICY.lifetime.total_seconds(), mint_window=WINDOW))
        self.fleet: Fleet
        self.report = RealReport()
        self._place = place
        self._witness = Witness()
        self._troubles: list[tuple[float, float]] = []

    async def run(self, seconds: float) -> RealReport:
        """Inflict faults for `seconds`, and judge.

        Raises:
            Violation: an invariant does not hold.
        """
        self._witness.watch(self.sandbox, time.time)
        url = self.store.url if isinstance(self.store, RedisServer) else f"file://{self.store}"
        async with self.sandbox:
            self.fleet = Fleet(self.sandbox, url, self._place, self.rng)
            try:
                began = time.time()
                for _member in range(self.size):
                    await self.fleet.start()
                await self._recovers("the start", began)
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    await self._inflict()
                codes = await self.fleet.end()
            finally:
                for member in list(self.fleet.members):
                    await self.fleet.kill(member)
        self._judge(codes)
        self._count()
        return self.report

    async def _inflict(self) -> None:
        (name,) = self.rng.choices(list(FAULTS), [WEIGHTS.get(name, 1) for name in FAULTS])
        self.report.counts[name] += 1
        began = time.time()
        await FAULTS[name](self)
        self.sandbox.clear_faults()
        await self._recovers(name, began)
        await asyncio.sleep(self.rng.choice((0.0, 0.0, 1.0)))

    async def _recovers(self, name: str, began: float) -> None:
        # Every process there is: one that was just started needs the time of an interpreter, too.
        seconds = await until_all_succeed(self.fleet, CALM + 10)
        if seconds is None:
            raise Violation("recovery", f"no access {CALM + 10:.0f} s after {name}")
        self.report.slowest_recovery = max(self.report.slowest_recovery, seconds)
        self._troubles.append((began, time.time() + CALM))

    # Afterwards

    def _judge(self, codes: list[int | None]) -> None:
        if any(codes):
            raise Violation("typed errors", f"processes ended with {codes}")
        self._judge_told()
        self._judge_mints()
        self._judge_secrets()

    def _excused(self, at: float) -> bool:
        return any(began <= at <= over for began, over in self._troubles)

    def _judge_told(self) -> None:
        for line in self.fleet.lines():
            if "bug" in line or line.get("error") not in (None, *_FOREIGN) or line.get("dated") is False:
                raise Violation("typed errors", str(line))
            if "want" in line and not self._excused(line["at"]):
                raise Violation("no call lacks a token", f"without any fault: {line}")
            if line.get("descriptors", 0) > MOST_DESCRIPTORS or line.get("tasks", 0) > MOST_TASKS or line.get("left"):
                raise Violation("nothing grows", str(line))

    def _judge_mints(self) -> None:
        for at in self._witness.refusals:
            if not self._excused(at):
                raise Violation("quota", f"the server refused a mint at {at}, without any fault")
        for earlier, later in pairwise(self._witness.mints):
            needless = later.at - earlier.at < SOFT and fingerprint(earlier.value) not in self._witness.dead
            if needless and not self._excused(later.at):
                raise Violation("one mint for one need", f"two within {later.at - earlier.at:.2f} s without any fault")

    def _judge_secrets(self) -> None:
        watch = SecretsWatch()
        watch.known |= {str(self.sandbox.credentials.api_key), *(mint.value for mint in self._witness.mints)}
        for path in self._place.glob("worker-*.log"):
            text = path.read_text(errors="replace")
            watch.read(text, path.name)
            for sign in ("was never retrieved", "was destroyed", "Unclosed", "Traceback", "should not"):
                if sign in text:
                    raise Violation(
                        "typed errors", f"{sign!r} in what a process logged: {text[text.index(sign) - 500 :][:1500]}"
                    )
        if watch.found:
            raise Violation("no secret is told", str(watch.found))

    def _count(self) -> None:
        self.report.processes = len(self.fleet.dead)
        self.report.mints = len(self._witness.mints)
        for line in self.fleet.lines():
            for name in ("status", "want", "error"):
                if name in line:
                    self.report.calls += 1
                    self.report.counts[f"call: {line[name]}"] += 1


_FOREIGN: Final = (
    "ClientConnectorError",
    "ClientOSError",
    "ClientPayloadError",
    "ConnectionResetError",
    "ServerDisconnectedError",
    "TimeoutError",
)
