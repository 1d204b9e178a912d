"""Simulate short scripts, one start a minute as cron does it, that share a store.

    python benchmarks/short_scripts.py [--days 7] [--seed 1]

Time is virtual. Each script asks for a token, works for a moment and closes. The server makes a token as soon as the
request arrives, whether or not the script is still there when the answer comes. The output has the mints, the tokens
that no script ever had, and the seconds that scripts waited for a token or had none.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
from typing import Any

from tests.token.virtual_time import run_virtual
from tests.token.world import World
from truecaller_vbc import MemoryStore, TokenError

DAY = 86_400.0
MINUTE = 60.0
POPULATIONS = [(0.05, 0.2), (0.35, 0.2), (0.05, 1.5), (0.35, 1.5)]
"""Seconds of work of a script, and seconds that the token endpoint takes to answer."""


class Scripts:
    """Scripts that start every minute, and what they had.

    Args:
        work: seconds that each script works with its token.
        latency: seconds that the token endpoint takes.
        beside_a_service: whether a long-lived process in use shares the store.
    """

    def __init__(self, work: float, latency: float, *, beside_a_service: bool = False) -> None:
        self._work = work
        self._beside_a_service = beside_a_service
        self._store = MemoryStore()
        self.server = World(store=self._store).server
        self.server.latency = latency
        server: Any = self.server
        self._answer = server._answer  # noqa: SLF001
        server.mint = self._mint
        self.had: set[str] = set()
        self.seconds_without = 0.0
        self.failures = 0

    async def _mint(self, _http: object, credentials: Any, *_: float) -> Any:
        self.server.calls += 1
        answer = self._answer(self.server.mood, credentials)
        await asyncio.sleep(self.server.latency)
        return answer

    async def run(self, days: float) -> None:
        """Run all scripts until the end."""
        clock = asyncio.get_running_loop().time
        end = clock() + days * DAY
        service = asyncio.create_task(self._serve()) if self._beside_a_service else None
        while clock() < end:
            started = clock()
            await self._script()
            await asyncio.sleep(max(0.0, MINUTE - (clock() - started)))
        if service is not None:
            service.cancel()
            await asyncio.wait([service])

    async def _script(self) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        process = World(store=self._store, server=self.server)
        process.holder.open(None)
        try:
            self.had.add((await process.holder.token()).value)
            self.seconds_without += clock() - started
            await asyncio.sleep(self._work)
        except TokenError:
            self.failures += 1
            self.seconds_without += MINUTE
        await process.holder.close()

    async def _serve(self) -> None:
        process = World(store=self._store, server=self.server)
        process.holder.open(None)
        try:
            while True:
                self.had.add((await process.holder.token()).value)
                await asyncio.sleep(5)
        finally:
            await process.holder.close()


async def main(days: float, seed: int) -> None:
    """Run all populations and print the figures of each."""
    for beside_a_service in (False, True):
        print(f"scripts, one a minute for {days:g} days, {'beside a service' if beside_a_service else 'alone'}:")
        for work, latency in POPULATIONS:
            random.seed(seed)
            scripts = Scripts(work, latency, beside_a_service=beside_a_service)
            await scripts.run(days)
            server = scripts.server
            print(
                f"  work {work * 1000:.0f} ms, endpoint {latency * 1000:.0f} ms: "
                f"{server.mints / days / 24:.2f} mints per hour, {server.most_in_any_window()} in any 30 min; "
                f"lost: {server.mints - len(scripts.had)} of {server.mints}; "
                f"without a token: {scripts.seconds_without:.0f} s, {scripts.failures} scripts failed"
            )


if __name__ == "__main__":
    logging.disable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    run_virtual(main(options.days, options.seed))
