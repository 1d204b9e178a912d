"""A week of a fleet in virtual time: crashes, deploys, and outages of the store and of the token endpoint.

``python benchmarks/fleet_week.py [--processes 200] [--days 7] [--seed 1]``

Every process is the real holder; the store is one in memory whose leases run out as those of Redis do, and that
counts its calls. Each process asks for a token every 20 seconds. Reported are the mints, what the server refused for
quota, and the seconds that processes were without a token, apart for the time in which none could be had by anybody.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "token"))

from virtual_time import run_virtual
from world import Mood, World

from truecaller_vbc import MemoryStore, MintQuotaExhaustedError, StoreError, TokenError

DAY = 86_400.0
ASK_EVERY = 20.0
MOODS: list[Mood] = ["503", "refused", "lost", "hung", "429"]


class FleetStore(MemoryStore):
    """Leases run out; a process that is killed does not give its back; and it can be down."""

    __slots__ = ("calls", "down", "dying", "leases")

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.down = False
        self.dying = False
        self.leases: dict[str, float] = {}

    def _count(self) -> None:
        self.calls += 1
        if self.down:
            raise StoreError("down")

    async def read(self, key: str) -> str | None:
        self._count()
        return await super().read(key)

    async def write(self, key: str, document: str) -> bool:
        self._count()
        return await super().write(key, document)

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        self._count()
        now = asyncio.get_running_loop().time()
        granted = self.leases.get(key, 0.0) <= now
        if granted:
            self.leases[key] = now + seconds
        try:
            yield granted
        finally:
            if granted and not self.dying and self.leases[key] == now + seconds:
                self.calls += 1
                self.leases[key] = 0.0


class Fleet:
    """The processes, and what is known of them."""

    def __init__(self, processes: int, days: float) -> None:
        self.store = FleetStore()
        self.first = World(store=self.store)
        self.server = self.first.server
        self.end = days * DAY
        self.processes = processes
        self.without = 0.0
        self.without_while_down = 0.0
        self.without_for_quota = 0.0
        self.starts = 0
        self.deploy = asyncio.Event()

    async def process(self) -> None:
        """One place in the fleet: a process, and after each of its deaths the next."""
        clock = asyncio.get_running_loop().time
        while clock() < self.end:
            self.starts += 1
            it = World(store=self.store, server=self.server)
            it.holder.open(None)
            life = min(random.expovariate(1 / DAY), self.end - clock())
            asking = asyncio.create_task(self._ask(it))
            dying = asyncio.create_task(self.deploy.wait())
            await asyncio.wait([asking, dying], timeout=life, return_when=asyncio.FIRST_COMPLETED)
            for task in (asking, dying):
                task.cancel()
            await asyncio.wait([asking, dying])
            self.store.dying = True
            await it.holder.close()
            self.store.dying = False
            await asyncio.sleep(random.uniform(1, 3))

    async def _ask(self, it: World) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            asked = clock()
            try:
                await it.holder.token()
            except MintQuotaExhaustedError:
                await asyncio.sleep(ASK_EVERY)
                self.without_for_quota += clock() - asked
            except TokenError:
                await asyncio.sleep(ASK_EVERY)
                self._count(clock() - asked)
            else:
                self._count(clock() - asked if clock() - asked > 1 else 0)
                await asyncio.sleep(ASK_EVERY)

    def _count(self, seconds: float) -> None:
        if self.server.mood == "ok":
            self.without += seconds
        else:
            self.without_while_down += seconds

    async def weather(self) -> None:
        """Three outages of each kind a day, and a deploy that restarts everybody."""
        await asyncio.gather(self._endpoint(), self._store(), self._deploys())

    async def _endpoint(self) -> None:
        while True:
            await asyncio.sleep(random.expovariate(3 / DAY))
            self.server.mood = random.choice(MOODS)
            await asyncio.sleep(random.uniform(60, 1800))
            self.server.mood = "ok"

    async def _store(self) -> None:
        while True:
            await asyncio.sleep(random.expovariate(3 / DAY))
            self.store.down = True
            await asyncio.sleep(random.uniform(10, 600))
            self.store.down = False

    async def _deploys(self) -> None:
        while True:
            await asyncio.sleep(DAY)
            self.deploy.set()
            await asyncio.sleep(0.5)
            self.deploy.clear()


async def main(processes: int, days: float, seed: int) -> None:
    """Let the time pass, and report."""
    random.seed(seed)
    started = time.perf_counter()
    fleet = Fleet(processes, days)
    weather = asyncio.create_task(fleet.weather())
    await asyncio.gather(*(fleet.process() for _ in range(processes)))
    weather.cancel()
    await asyncio.wait([weather])
    seconds = days * DAY
    server = fleet.server
    print(f"{processes} processes, {days:g} days, seed {seed}: {fleet.starts} starts")
    print(f"mints: {server.mints}, {server.mints / days / 24:.2f} an hour, {server.most_in_any_window()} in any 30 min")
    print(f"refused for quota by the server: {server.refused_for_quota}; token calls in all: {server.calls}")
    print(f"without a token: {fleet.without:,.0f} s of {processes * seconds:,.0f} process seconds")
    print(f"  and {fleet.without_while_down:,.0f} s while the endpoint was down")
    print(f"  and {fleet.without_for_quota:,.0f} s while the ledger, or the endpoint, said that the quota was spent")
    print(f"store calls: {fleet.store.calls:,}, {fleet.store.calls / seconds:.3f} a second")
    print(f"simulated in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    logging.disable()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=200)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    run_virtual(main(options.processes, options.days, options.seed))
