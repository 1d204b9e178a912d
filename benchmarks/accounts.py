"""Measure thousands of sessions in one process: memory, and how long a storm of refreshes stops the loop."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path

import aiohttp

from truecaller_vbc import MemoryStore, VBCSession

from .rounds import Effort, Row, row_of_limit
from .sandboxes import sandbox_process

SESSIONS = 10_000
AT_ONCE = 100
WARM_UP = 20
LIMIT = 4096
STOP = 50.0
REST = 1.3
PAGE = 4096
AHEAD = 2_800.0


class JumpingClock:
    """The system's clock, which the benchmark sets ahead, as a suspend does."""

    ahead = 0.0

    def __init__(self) -> None:
        self.now = self._now  # as the library's own clock, made once and not for each session

    def _now(self) -> float:
        """Return seconds since the start of the machine."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.ahead

    def wall(self) -> float:
        """Return seconds since 1970."""
        return time.time() + self.ahead


async def accounts(effort: Effort) -> list[Row]:
    """Compare the RSS of an idle session, and the longest stop while all refresh at once, with their limits.

    In new processes, one with a shared store and one without.
    """
    count = int(SESSIONS * max(effort.scale, 0.1))
    rows: list[Row] = []
    for kind in ("without a store", "with a shared store"):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.accounts", str(count), kind, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await child.communicate()
        figures = json.loads(printed)
        rows.append(
            row_of_limit(f"RSS of each of {count:,} idle sessions {kind}, beside 4 KiB", "B", figures["rss"], LIMIT)
        )
        name = f"longest turn of the loop while {count:,} sessions {kind} refresh, without garbage collections"
        rows.append(row_of_limit(f"{name}, beside 50 ms", "ms", figures["turn"], STOP))
    return rows


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def measure(count: int, *, shared: bool) -> dict[str, float]:
    """Open sessions, get their tokens, let them rest, and set the clock ahead."""
    clock, store = JumpingClock(), MemoryStore() if shared else None
    sessions: list[VBCSession] = []
    with sandbox_process(max_mints=1_000_000) as sandbox:
        async with aiohttp.ClientSession() as http:

            async def open_some(number: int) -> None:
                some = [
                    VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http, store=store, clock=clock)
                    for _ in range(number)
                ]
                for vbc in some:
                    await vbc.open()
                sessions.extend(some)
                for start in range(0, number, AT_ONCE):
                    await asyncio.gather(*(vbc.token() for vbc in some[start : start + AT_ONCE]))

            await open_some(WARM_UP)
            await asyncio.sleep(REST)
            gc.collect()
            before = _rss()
            await open_some(count)
            await asyncio.sleep(REST)
            gc.collect()
            rss = (_rss() - before) / count
            turn = await _storm(sessions, clock)
            await asyncio.gather(*(vbc.close() for vbc in sessions))
    return {"rss": rss, "turn": turn}


async def _storm(sessions: list[VBCSession], clock: JumpingClock) -> float:
    """Return the most milliseconds of CPU that the loop took between two turns of another task."""
    gc.freeze()
    gc.disable()
    turns: list[float] = []

    async def beat() -> None:
        while True:
            started = time.thread_time()
            await asyncio.sleep(0.001)
            turns.append(time.thread_time() - started)

    beating = asyncio.create_task(beat())
    clock.ahead = AHEAD
    for vbc in sessions:
        while vbc.status().generation < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    beating.cancel()
    gc.enable()
    return max(turns) * 1000


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]), shared="with a" in sys.argv[2]))))
