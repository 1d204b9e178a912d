"""A fleet of real processes that share a real store, for signals to be sent to."""

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

_WORKER: Final = str(Path(__file__).with_name("gauntlet_worker.py"))
_PATIENCE: Final = 20.0


@attrs.define(eq=False)
class Member:
    """One process, and what it has told.

    Args:
        process: itself.
        log: where its standard error goes.
        told: its lines.
        reading: reads them.
    """

    process: Process
    log: Path
    told: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    reading: asyncio.Task[None] | None = None

    def succeeded_since(self, wall: float) -> bool:
        """Whether a call was answered with 200 after `wall`."""
        return any(line["at"] > wall and line.get("status") == 200 for line in reversed(self.told[-400:]))


class Fleet:
    """Starts processes, sends them signals, and ends them."""

    def __init__(self, sandbox: Sandbox, store: str, place: Path, rng: random.Random) -> None:
        self.members: list[Member] = []
        self.dead: list[Member] = []
        self._rng = rng
        self._place = place
        self._environment = {
            **os.environ,
            "TRUECALLER_VBC_CLIENT_ACCOUNT_ID": sandbox.credentials.client_account_id,
            "TRUECALLER_VBC_KEY_ID": sandbox.credentials.key_id,
            "TRUECALLER_VBC_API_KEY": str(sandbox.credentials.api_key),
            "TRUECALLER_VBC_BASE_URL": sandbox.base_url,
            "TRUECALLER_VBC_STORE": store,
        }

    async def start(self) -> Member:
        """One more."""
        log = self._place / f"worker-{len(self.members) + len(self.dead)}.log"
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
            member.told.append(json.loads(line))

    async def kill(self, member: Member) -> None:
        """SIGKILL."""
        self.members.remove(member)
        self.dead.append(member)
        member.process.kill()
        await self._gone(member)

    async def stop_for(self, member: Member, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after `seconds`."""
        member.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            if member.process.returncode is None:
                member.process.send_signal(signal.SIGCONT)

    async def end(self) -> list[int | None]:
        """Let all end by themselves; their exit codes."""
        ending, self.members = self.members, []
        self.dead += ending
        for member in ending:
            assert member.process.stdin is not None
            member.process.stdin.close()
        for member in ending:
            await self._gone(member)
        return [member.process.returncode for member in ending]

    async def _gone(self, member: Member) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await member.process.wait()
        except TimeoutError:
            member.process.kill()
            await member.process.wait()
        if member.reading is not None:
            await member.reading

    def lines(self) -> Iterator[dict[str, Any]]:
        """All that was ever told."""
        for member in [*self.members, *self.dead]:
            yield from member.told


async def until_all_succeed(fleet: Fleet, patience: float) -> float | None:
    """Seconds until every process has had an answer since now; None if that takes too long."""
    since = time.time()
    while time.time() - since < patience:
        if all(member.succeeded_since(since) for member in fleet.members):
            return time.time() - since
        await asyncio.sleep(0.02)
    return None
