"""Simulate a week of a fleet with crashes, deploys, and outages of the store and of the token endpoint.

    python benchmarks/fleet_week.py [--processes 200] [--days 7] [--seed 1]

Time is virtual. Each process is a real `TokenHolder` that is asked for a token every 20 seconds. The store is in
memory, counts its calls, and its leases expire as those of Redis do. The output has the mints, the mints that the
server refused for quota, and the seconds that processes were without a token. Then follow the short scripts of
`short_scripts.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from benchmarks import short_scripts
from tests.token.virtual_time import run_virtual
from tests.token.world import Mood, World
from truecaller_vbc import MemoryStore, MintQuotaExhaustedError, StoreError, TokenError

DAY = 86_400.0
INTERVAL = 20.0
FAILURES: list[Mood] = ["503", "refused", "lost", "hung", "429"]


class FleetStore(MemoryStore):
    """A store whose leases expire and outlive a killed owner, and which can be made to fail."""

    __slots__ = ("calls", "failing", "killing_owner", "leases")

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.failing = False
        self.killing_owner = False
        self.leases: dict[str, float] = {}

    def _count(self) -> None:
        self.calls += 1
        if self.failing:
            raise StoreError("simulated outage")

    async def read(self, key: str) -> str | None:
        self._count()
        return await super().read(key)

    async def write(self, key: str, document: str) -> bool:
        self._count()
        return await super().write(key, document)

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        self._count()
        expires_at = asyncio.get_running_loop().time() + seconds
        granted = self.leases.get(key, 0.0) <= expires_at - seconds
        if granted:
            self.leases[key] = expires_at
        try:
            yield granted
        finally:
            if granted and not self.killing_owner and self.leases[key] == expires_at:
                self.calls += 1
                self.leases[key] = 0.0


class Fleet:
    """The processes, their outages, and the seconds without a token."""

    def __init__(self, processes: int, days: float) -> None:
        self.store = FleetStore()
        self.server = World(store=self.store).server
        self.end = days * DAY
        self.processes = processes
        self.starts = 0
        self.seconds_without = 0.0
        self.seconds_without_in_outage = 0.0
        self.seconds_without_for_quota = 0.0
        self._deploy = asyncio.Event()

    async def run(self) -> None:
        """Run all processes until the end."""
        processes = asyncio.gather(*(self._process() for _ in range(self.processes)))
        outages = asyncio.gather(self._fail_endpoint(), self._fail_store(), self._deploy_daily())
        await processes
        outages.cancel()
        await asyncio.wait([outages])

    async def _process(self) -> None:
        """Run one process, and start the next one after each crash or deploy."""
        clock = asyncio.get_running_loop().time
        while clock() < self.end:
            self.starts += 1
            process = World(store=self.store, server=self.server)
            process.holder.open(None)
            lifetime = min(random.expovariate(1 / DAY), self.end - clock())
            tasks = [asyncio.create_task(self._use_tokens(process)), asyncio.create_task(self._deploy.wait())]
            await asyncio.wait(tasks, timeout=lifetime, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self.store.killing_owner = True
            await process.holder.close()
            self.store.killing_owner = False
            await asyncio.sleep(random.uniform(1, 3))

    async def _use_tokens(self, process: World) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            try:
                await process.holder.token()
            except MintQuotaExhaustedError:
                await asyncio.sleep(INTERVAL)
                self.seconds_without_for_quota += clock() - started
            except TokenError:
                await asyncio.sleep(INTERVAL)
                self._add_without(clock() - started)
            else:
                waited = clock() - started
                self._add_without(waited if waited > 1 else 0)
                await asyncio.sleep(INTERVAL)

    def _add_without(self, seconds: float) -> None:
        if self.server.mood == "ok":
            self.seconds_without += seconds
        else:
            self.seconds_without_in_outage += seconds

    async def _fail_endpoint(self) -> None:
        while True:
            await asyncio.sleep(random.expovariate(3 / DAY))
            self.server.mood = random.choice(FAILURES)
            await asyncio.sleep(random.uniform(60, 1800))
            self.server.mood = "ok"

    async def _fail_store(self) -> None:
        while True:
            await asyncio.sleep(random.expovariate(3 / DAY))
            self.store.failing = True
            await asyncio.sleep(random.uniform(10, 600))
            self.store.failing = False

    async def _deploy_daily(self) -> None:
        while True:
            await asyncio.sleep(DAY)
            self._deploy.set()
            await asyncio.sleep(0.5)
            self._deploy.clear()


async def main(processes: int, days: float, seed: int) -> None:
    """Run the fleet and print the figures."""
    random.seed(seed)
    started = time.perf_counter()
    fleet = Fleet(processes, days)
    await fleet.run()
    server, seconds = fleet.server, days * DAY
    print(f"{processes} processes, {days:g} days, seed {seed}: {fleet.starts} starts")
    print(
        f"mints: {server.mints}, {server.mints / days / 24:.2f} per hour, {server.most_in_any_window()} in any 30 min"
    )
    print(f"mints refused for quota by the server: {server.refused_for_quota}; token requests: {server.calls}")
    print(f"without a token: {fleet.seconds_without:,.0f} s of {processes * seconds:,.0f} process seconds")
    print(f"  and {fleet.seconds_without_in_outage:,.0f} s while the token endpoint failed")
    print(f"  and {fleet.seconds_without_for_quota:,.0f} s while the quota was spent")
    print(f"store calls: {fleet.store.calls:,}, {fleet.store.calls / seconds:.3f} per second")
    await short_scripts.main(days, seed)
    print(f"simulated in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    logging.disable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=200)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    run_virtual(main(options.processes, options.days, options.seed))
