"""Run simulations one after the other, and report what happened.

A normal test run is short. Longer ones::

    TRUECALLER_VBC_GAUNTLET_SEED=7 TRUECALLER_VBC_GAUNTLET_STEPS=100000 pytest tests/gauntlet -k simulations -s
    TRUECALLER_VBC_GAUNTLET_SECONDS=180 pytest tests/gauntlet -k real_processes -s

The first runs in virtual time and repeats exactly. The second uses real time and signals and does not repeat exactly.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from unittest.mock import patch

import attrs

from truecaller_vbc.token import refresher

from ..token.virtual_time import EPOCH
from .faults import heal
from .freezer import stores_in_virtual_time
from .invariants import Violation
from .recorder import modes_recorded
from .secret_scanner import SecretScanner
from .simulation import Simulation
from .simulation_loop import SimulationLoop
from .site import Site
from .steps import next_step

SIMULATION_STEPS: Final = 250
"""Steps of one simulation. The next one has the next seed, and so other settings."""
_PREFIX: Final = "TRUECALLER_VBC_GAUNTLET_"
_WARM_UP: Final = 2
_LONGEST_STEP: Final = 30_000.0
_MOST_BLOCKS: Final = 5_000


@attrs.frozen
class Plan:
    """Which simulations to run.

    Args:
        seed: of the first simulation; each further one has the next seed.
        steps: total number of steps.
        seconds: duration of the run with real processes.
    """

    seed: int
    steps: int
    seconds: float

    @classmethod
    def from_env(cls) -> Plan:
        """Read the plan from the environment; the default is short."""
        return cls(
            int(os.environ.get(f"{_PREFIX}SEED", "1")),
            int(os.environ.get(f"{_PREFIX}STEPS", "750")),
            float(os.environ.get(f"{_PREFIX}SECONDS", "2")),
        )

    def simulations(self) -> list[tuple[int, int]]:
        """Return seed and number of steps of each simulation."""
        full, rest = divmod(self.steps, SIMULATION_STEPS)
        lengths = [SIMULATION_STEPS] * full + ([rest] if rest else [])
        return [(self.seed + number, length) for number, length in enumerate(lengths)]


def replay_command(seed: int, steps: int) -> str:
    """Return the command that runs one simulation again up to its failing step."""
    return f"{_PREFIX}SEED={seed} {_PREFIX}STEPS={steps} pytest tests/gauntlet -k simulations"


@attrs.define
class Report:
    """Totals of the simulations that were run."""

    simulations: int = 0
    steps: int = 0
    sessions: int = 0
    mints: int = 0
    seconds: float = 0.0
    log_records: int = 0
    counts: Counter[str] = attrs.field(factory=Counter[str])
    traces: list[str] = attrs.field(factory=list[str])
    descriptors: list[int] = attrs.field(factory=list[int])
    blocks: list[int] = attrs.field(factory=list[int])

    def check_growth(self) -> None:
        """Check that descriptors and memory do not grow from one simulation to the next.

        Raises:
            Violation: they grow.
        """
        if len(self.descriptors) > _WARM_UP and max(self.descriptors[_WARM_UP:]) > self.descriptors[_WARM_UP - 1]:
            raise Violation("nothing grows", f"open file descriptors: {self.descriptors}")
        quarter = len(self.blocks) // 4
        if quarter < _WARM_UP:
            return
        growth = min(self.blocks[-quarter:]) - min(self.blocks[quarter : 2 * quarter])
        if growth > _MOST_BLOCKS:
            raise Violation("nothing grows", f"{growth} memory blocks more in the last quarter than in the second")

    def lines(self) -> list[str]:
        """Return the totals as text to print."""
        totals = f"simulations {self.simulations}, steps {self.steps}, sessions {self.sessions}, mints {self.mints}"
        more = f"virtual hours {self.seconds / 3600:.0f}, log records read {self.log_records}"
        return [totals, more, *(f"{count:>8}  {what}" for what, count in sorted(self.counts.items()))]


def run_simulations(simulations: list[tuple[int, int]], directory: Path) -> Report:
    """Run simulations, each given as a seed and a number of steps.

    Raises:
        Violation: an invariant does not hold; its notes have the command that runs the simulation again.
    """
    report = Report()
    with SecretScanner() as scanner:
        for seed, steps in simulations:
            run_simulation(seed, steps, directory, scanner, report)
    report.log_records = scanner.records
    return report


def run_simulation(seed: int, steps: int, directory: Path, scanner: SecretScanner, report: Report) -> None:
    """Run one simulation, add it to `report`, and check that it left nothing behind."""
    loop = SimulationLoop()
    trace: list[str] = []
    try:
        with (
            asyncio.Runner(loop_factory=lambda: loop) as runner,
            stores_in_virtual_time(loop.time, loop.right_time),
            modes_recorded(),
            patch.object(refresher, "schedule_of", SimulationLoop.schedule),
        ):
            runner.run(_play(seed, steps, directory, scanner, report, trace))
        scanner.known.clear()
        gc.collect()
        _check_end(loop)
    except Violation as violation:
        violation.add_note(f"replay: {replay_command(seed, min(steps, len(trace) + 1))}")
        violation.add_note("\n".join(trace[-12:]))
        raise
    report.descriptors.append(_open_descriptors())
    report.blocks.append(sys.getallocatedblocks())


async def _in_time(step: Awaitable[str | None]) -> str | None:
    try:
        async with asyncio.timeout(_LONGEST_STEP):
            return await step
    except TimeoutError:
        raise Violation("no call lacks a token", "what a step waits for never comes") from None


def _check_end(loop: SimulationLoop) -> None:
    if loop.unhandled:
        raise Violation("typed errors", f"left to the loop at its end: {loop.unhandled[0]}")


async def _play(
    seed: int, steps: int, directory: Path, scanner: SecretScanner, report: Report, trace: list[str]
) -> None:
    site = Site(seed, directory, scanner)
    for _ in range(site.pools.accounts):
        Simulation(site)
    try:
        async with AsyncExitStack() as sandboxes:
            for account in site.accounts:
                scanner.known.add(str(account.sandbox.credentials.api_key))
                await sandboxes.enter_async_context(account.sandbox)
                # A fixed start makes a seed repeat exactly: fractions of seconds would depend on the date.
                account.sandbox._clock._started_wall = datetime.fromtimestamp(EPOCH, UTC)
            try:
                await site.accounts[0].open_session()
                for number in range(steps):
                    await _take_step(site, number, trace)
                for account in site.accounts:
                    await heal(account)
                for account in site.accounts:
                    await account.checker.check_recovery()
            finally:
                trace.append(f"end {site.now():.6f} mints {_mints(site)}")
                await site.end()
    finally:
        report.simulations += 1
        report.steps += len(trace) - 1
        report.sessions += site.processes * len(site.accounts)
        report.mints += _mints(site)
        report.seconds += site.now()
        report.counts.update(site.counts)
        # A digest, since whole traces would be growth of the report itself.
        report.traces.append(hashlib.sha256("\n".join(trace).encode()).hexdigest())


async def _take_step(site: Site, number: int, trace: list[str]) -> None:
    account = site.accounts[0] if len(site.accounts) == 1 else site.rng.choice(site.accounts)
    name, step = next_step(account)
    site.count(name)
    said = await _in_time(step(account))
    which = f" of account {account.number}" if len(site.accounts) > 1 else ""
    trace.append(f"{number} {site.now():.6f} {name}{which}: {said or ''}".rstrip(": "))
    for each in site.accounts:
        each.checker.after_step()


def _mints(site: Site) -> int:
    return sum(len(account.recorder.mints) for account in site.accounts)


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
