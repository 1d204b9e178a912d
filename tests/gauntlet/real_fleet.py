"""Start real processes that share a store, and send signals to them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from truecaller_vbc.sandbox import Sandbox

from ..cli.cli_process import environment

_WORKER: Final = str(Path(__file__).with_name("gauntlet_worker.py"))
_PATIENCE: Final = 20.0


@attrs.define(eq=False)
class Member:
    """One process and its reports.

    Args:
        process: the process.
        log: file of its standard error.
        reports: the JSON lines that it printed.
        reading: the task that reads them.
    """

    process: Process
    log: Path
    reports: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    reading: asyncio.Task[None] | None = None

    def succeeded_since(self, wall: float) -> bool:
        """Return whether a call got status 200 after `wall`."""
        return any(line["at"] > wall and line.get("status") == 200 for line in reversed(self.reports[-400:]))


class Fleet:
    """Start, signal and end the processes of one account."""

    def __init__(self, sandbox: Sandbox, store: str, directory: Path, rng: random.Random) -> None:
        self.members: list[Member] = []
        self.dead: list[Member] = []
        self._rng = rng
        self._directory = directory
        self._environment = {**os.environ, **environment(sandbox), "TRUECALLER_VBC_STORE": store}

    async def start(self) -> Member:
        """Start one more process."""
        log = self._directory / f"worker-{len(self.members) + len(self.dead)}.log"
        options = ["--abandon"] if self._rng.random() < 0.3 else []
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, _WORKER, *options, env=self._environment, stdin=PIPE, stdout=PIPE, stderr=errors
            )
        member = Member(process, log)
        member.reading = asyncio.create_task(self._read(member))
        self.members.append(member)
        return member

    async def _read(self, member: Member) -> None:
        assert member.process.stdout is not None
        async for line in member.process.stdout:
            member.reports.append(json.loads(line))

    async def kill(self, member: Member) -> None:
        """Kill a process with SIGKILL."""
        self.members.remove(member)
        self.dead.append(member)
        member.process.kill()
        await self._wait_for_exit(member)

    async def stop_for(self, member: Member, seconds: float) -> None:
        """Stop a process with SIGSTOP, and continue it after `seconds`."""
        member.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            if member.process.returncode is None:
                member.process.send_signal(signal.SIGCONT)

    async def end(self) -> list[int | None]:
        """Ask all processes to end, and return their exit codes."""
        ending, self.members = self.members, []
        self.dead += ending
        for member in ending:
            assert member.process.stdin is not None
            member.process.stdin.close()
        for member in ending:
            await self._wait_for_exit(member)
        return [member.process.returncode for member in ending]

    async def _wait_for_exit(self, member: Member) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await member.process.wait()
        except TimeoutError:
            member.process.kill()
            await member.process.wait()
        if member.reading is not None:
            await member.reading

    def reports(self) -> Iterator[dict[str, Any]]:
        """Yield the reports of all processes, running and ended."""
        for member in [*self.members, *self.dead]:
            yield from member.reports


async def until_all_succeed(fleet: Fleet, patience: float) -> float | None:
    """Return the seconds until every process had a successful call, or None after `patience` seconds."""
    since = time.time()
    while time.time() - since < patience:
        if all(member.succeeded_since(since) for member in fleet.members):
            return time.time() - since
        await asyncio.sleep(0.02)
    return None
