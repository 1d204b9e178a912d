"""Plays the virtual worlds of a plan, one after the other, and says what happened."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs

from ..token.virtual_time import EPOCH
from .faults import heal
from .invariants import Violation
from .plan import replay_command
from .secret_scanner import SecretsWatch
from .simulation import World
from .simulation_loop import GauntletLoop
from .steps import next_step

_WARM_WORLDS: Final = 2
_LONGEST_STEP: Final = 30_000.0
_MOST_BLOCKS: Final = 5_000


@attrs.define
class Report:
    """Totals of the worlds that were played."""

    worlds: int = 0
    steps: int = 0
    sessions: int = 0
    mints: int = 0
    seconds: float = 0.0
    log_records: int = 0
    counts: Counter[str] = attrs.field(factory=Counter[str])
    traces: list[str] = attrs.field(factory=list[str])
    descriptors: list[int] = attrs.field(factory=list[int])
    blocks: list[int] = attrs.field(factory=list[int])

    def judge_growth(self) -> None:
        """Descriptors and memory are where they were after the first worlds.

        Raises:
            Violation: they grow.
        """
        if (
            len(self.descriptors) > _WARM_WORLDS
            and max(self.descriptors[_WARM_WORLDS:]) > self.descriptors[_WARM_WORLDS - 1]
        ):
            raise Violation("nothing grows", f"open file descriptors: {self.descriptors}")
        quarter = len(self.blocks) // 4
        if quarter < _WARM_WORLDS:
            return
        growth = min(self.blocks[-quarter:]) - min(self.blocks[quarter : 2 * quarter])
        if growth > _MOST_BLOCKS:
            raise Violation("nothing grows", f"{growth} memory blocks more in the last quarter than in the second")

    def lines(self) -> list[str]:
        """For people."""
        totals = f"worlds {self.worlds}, steps {self.steps}, sessions {self.sessions}, mints {self.mints}"
        more = f"virtual hours {self.seconds / 3600:.0f}, log records read {self.log_records}"
        return [totals, more, *(f"{count:>8}  {what}" for what, count in sorted(self.counts.items()))]


def play_worlds(worlds: list[tuple[int, int]], place: Path) -> Report:
    """Play worlds, each a seed and a number of steps.

    Raises:
        Violation: an invariant does not hold; its notes have the command that plays the world again.
    """
    report = Report()
    with SecretsWatch() as watch:
        for seed, steps in worlds:
            play_world(seed, steps, place, watch, report)
    report.log_records = watch.records
    return report


def play_world(seed: int, steps: int, place: Path, watch: SecretsWatch, report: Report) -> None:
    """Play one, add it to `report`, and see that nothing of it is left."""
    loop = GauntletLoop()
    trace: list[str] = []
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_play(seed, steps, place, watch, report, trace))
        watch.known.clear()
        gc.collect()
        _judge_end(loop)
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


def _judge_end(loop: GauntletLoop) -> None:
    if loop.troubles:
        raise Violation("typed errors", f"left to the loop at its end: {loop.troubles[0]}")


async def _play(seed: int, steps: int, place: Path, watch: SecretsWatch, report: Report, trace: list[str]) -> None:
    world = World(seed, place, watch)
    watch.known.add(str(world.sandbox.credentials.api_key))
    try:
        async with world.sandbox:
            # Where it begins must not depend on the day, or fractions of seconds would differ.
            world.sandbox._clock._started_wall = datetime.fromtimestamp(EPOCH, UTC)
            try:
                await world.open_session()
                for number in range(steps):
                    name, step = next_step(world)
                    world.count(name)
                    said = await _in_time(step(world))
                    trace.append(f"{number} {world.now():.6f} {name}: {said or ''}".rstrip(": "))
                    world.judge.after_step()
                await heal(world)
                await world.judge.recovered()
            finally:
                trace.append(f"end {world.now():.6f} mints {len(world.witness.mints)}")
                await world.end()
    finally:
        report.worlds += 1
        report.steps += len(trace) - 1
        report.sessions += world.all_sessions
        report.mints += len(world.witness.mints)
        report.seconds += world.now()
        report.counts.update(world.counts)
        # Not the trace itself, or the growth that is looked for would be the report's own.
        report.traces.append(hashlib.sha256("\n".join(trace).encode()).hexdigest())


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
