"""Those who play: the callers of this process, or a fleet of processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from ...sandbox import Sandbox
from ...session import VBCSession
from ...token.events import TokenStatus
from .lateness import watch
from .load import call_on
from .options import POLICY, DemoOptions
from .tally import Tally

_TO_END: Final = 30.0


class Company(Protocol):
    """What the play and the table know of those who play."""

    tally: Tally
    playing: asyncio.Task[None]

    def status(self) -> TokenStatus | None:
        """Where the token stands, as far as this process knows."""
        ...

    def ready(self) -> bool:
        """Whether everybody has made calls."""
        ...

    def kill(self, pid: int) -> bool:
        """Kill one of our processes with SIGKILL; another takes its place. False if it is none of ours."""
        ...


class Soloist:
    """All callers in this process, on one session."""

    playing: asyncio.Task[None]

    def __init__(self, vbc: VBCSession) -> None:
        self.tally = Tally()
        self.vbc = vbc

    async def play(self, callers: int) -> None:
        """Call until cancelled, or until a bug ends it."""
        try:
            await call_on(self.vbc, callers, self.tally)
        except Exception:  # whatever it was, nobody calls any more
            self.tally.died += 1

    def status(self) -> TokenStatus | None:
        """Where the token stands."""
        return self.vbc.status()

    def ready(self) -> bool:
        """Whether calls were made."""
        return self.tally.calls > 0

    def kill(self, pid: int) -> bool:  # noqa: ARG002
        """There is nobody else."""
        return False


class Fleet:
    """Processes of their own, which share a store and tell what they count, a JSON object a line."""

    playing: asyncio.Task[None]

    def __init__(self, environment: dict[str, str], callers: list[int]) -> None:
        self.tally = Tally()
        self._environment = environment
        self._callers = callers
        self._processes: dict[int, Process] = {}
        self._heard: set[int] = set()
        self._killed: set[int] = set()
        self._ending = False

    def status(self) -> TokenStatus | None:
        """Known to the processes only."""
        return None

    def ready(self) -> bool:
        """Whether every process has told of calls."""
        return len(self._heard) >= len(self._callers)

    def kill(self, pid: int) -> bool:
        """With SIGKILL, as the kernel does it."""
        if pid not in self._processes:
            return False
        self._killed.add(pid)
        os.kill(pid, signal.SIGKILL)
        return True

    async def play(self) -> None:
        """Run all processes, and a new one for each that was killed."""
        watching = asyncio.create_task(watch(self.tally))
        try:
            async with asyncio.TaskGroup() as group:
                for callers in self._callers:
                    group.create_task(self._supervise(callers))
        finally:
            watching.cancel()

    async def end(self) -> None:
        """Tell all processes to come to an end, and hear what they counted last."""
        self._ending = True
        for process in self._processes.values():
            _close_input(process)
        await asyncio.wait([self.playing], timeout=_TO_END)

    async def _supervise(self, callers: int) -> None:
        while not self._ending:
            command = (sys.executable, "-m", "truecaller_vbc.cli.demo.worker", str(callers))
            process = await asyncio.create_subprocess_exec(
                *command, env=self._environment, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
            )
            self._processes[process.pid] = process
            if self._ending:
                _close_input(process)
            try:
                await self._listen(process)
            except asyncio.CancelledError:
                self.tally.died += 1
                # Not process.kill(): that would reap it, and asyncio would miss it.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                raise
            finally:
                del self._processes[process.pid]
                await process.wait()
            if process.returncode != 0 and process.pid not in self._killed:
                self.tally.died += 1
                return

    async def _listen(self, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        async for line in process.stdout:
            with contextlib.suppress(ValueError):  # the last line of one that was killed
                told = json.loads(line)
                self.tally.add(told)
                if told["calls"]:
                    self._heard.add(process.pid)


@asynccontextmanager
async def company_of(options: DemoOptions, sandbox: Sandbox, store: str | None) -> AsyncGenerator[Company]:
    """Those who play, playing."""
    if options.processes == 1:
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=POLICY, store=store) as vbc:
            soloist = Soloist(vbc)
            async with _playing(soloist.play(options.callers)) as soloist.playing:
                yield soloist
        return
    fleet = Fleet(_environment(sandbox, store), _shares(options.callers, options.processes))
    async with _playing(fleet.play()) as fleet.playing:
        yield fleet
        await fleet.end()


@asynccontextmanager
async def _playing(play: Coroutine[Any, Any, None]) -> AsyncGenerator[asyncio.Task[None]]:
    task = asyncio.create_task(play)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def _close_input(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()


def _shares(callers: int, processes: int) -> list[int]:
    return [callers // processes + (number < callers % processes) for number in range(processes)]


def _environment(sandbox: Sandbox, store: str | None) -> dict[str, str]:
    credentials = sandbox.credentials
    return {
        **os.environ,
        "TRUECALLER_VBC_BASE_URL": sandbox.base_url,
        "TRUECALLER_VBC_CLIENT_ACCOUNT_ID": credentials.client_account_id,
        "TRUECALLER_VBC_KEY_ID": credentials.key_id,
        "TRUECALLER_VBC_API_KEY": str(credentials.api_key),
        "TRUECALLER_VBC_STORE": store or "",
    }
