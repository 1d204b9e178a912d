"""The callers of a step: they ask, some of them leave, and each ends in one outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
from scenario_format import Ask, AskAPI
from scenario_judge import Problem, fits, rounded
from scenario_server import PATH, ScriptedServer
from virtual_time import LoopClock

from truecaller_vbc import TokenError, VBCSession
from truecaller_vbc.errors import VBCError


@attrs.frozen
class Ended:
    """How a caller ended."""

    outcome: str
    took: float | None = None
    retry_at: float | None = None


@attrs.define
class Callers:
    """All callers of one step.

    Args:
        number: of the step.
        step: whose callers they are.
        server: knows whether a token has ended.
        time_of: an aware time, as seconds from the start.
    """

    number: int
    step: Ask
    server: ScriptedServer
    vbc: VBCSession
    clock: LoopClock
    time_of: Callable[[Any], float | None]
    ended: list[Ended] = attrs.field(factory=list[Ended])
    handed_out_dead: list[str] = attrs.field(factory=list[str])
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list[asyncio.Task[None]])
    demand: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask now, and again as often as the step says."""
        self.demand = asyncio.create_task(self._demand())

    def kill(self) -> None:
        """Their process is dead."""
        for task in [self.demand, *self.tasks]:
            if task is not None:
                task.cancel()

    async def _demand(self) -> None:
        step, begun = self.step, self.clock.now()
        while True:
            tasks = [asyncio.create_task(self._one()) for _ in range(step.callers)]
            self.tasks += tasks
            if step.cancel is not None:
                await asyncio.sleep(step.cancel.after)
                for task in tasks[: step.cancel.callers]:
                    task.cancel()
            if step.every is None or step.until is None or (begun := begun + step.every) > step.until:
                break
            await asyncio.sleep(begun - self.clock.now())
        await asyncio.wait(self.tasks)

    async def _one(self) -> None:
        begun = self.clock.now()
        retry_at = None
        try:
            outcome = await self._ask()
        except asyncio.CancelledError:
            self.ended.append(Ended("cancelled"))
            raise
        except VBCError as error:
            outcome = type(error).__name__
            retry_at = self.time_of(error.retry_at) if isinstance(error, TokenError) else None
        self.ended.append(Ended(outcome, self.clock.now() - begun, retry_at))

    async def _ask(self) -> str:
        if isinstance(self.step, AskAPI):
            async with self.vbc.post(PATH, **_BODIES[self.step.body]()) as response:
                return str(response.status)
        value = str((await self.vbc.token()).authorization.removeprefix("Bearer "))
        if self.server.has_ended(value):
            self.handed_out_dead.append(value)
        return value

    def judge(self) -> list[Problem]:
        """What was not as expected."""
        expect, counts = self.step.expect, Counter(ended.outcome for ended in self.ended)
        if waiting := sum(not task.done() for task in self.tasks):
            counts["waiting"] = waiting
        problems = [Problem(self.number, "a token past its life", [], self.handed_out_dead)]
        if expect is not None:
            expected = expect.outcome
            if isinstance(expected, str):
                expected = {expected: len(self.tasks)}
            problems.append(Problem(self.number, "outcome", expected, dict(counts)))
            stayed = [ended for ended in self.ended if ended.took is not None]
            for what, wanted in (("took", expect.took), ("retry_at", expect.retry_at)):
                if wanted != "any":
                    got = [getattr(ended, what) for ended in stayed]
                    wrong = [value for value in got if not fits(wanted, value)]
                    problems += [Problem(self.number, what, wanted, rounded(value)) for value in wrong[:1]]
        return [problem for problem in problems if not fits(problem.expected, problem.got)]


async def _stream() -> AsyncIterator[bytes]:
    yield b"{}"


_BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "none": dict,
    "json": lambda: {"json": {}},
    "stream": lambda: {"data": _stream()},
}
