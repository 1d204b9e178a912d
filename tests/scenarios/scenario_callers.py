"""Run the callers of a step and collect their outcomes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import attrs

from truecaller_vbc import TokenError, VBCSession
from truecaller_vbc.transport import RequestContext

from ..token.virtual_time import LoopClock
from .scenario_judge import Problem, fits, rounded
from .scenario_server import PATH, ScriptedServer
from .scenario_steps import ANYTHING, Ask, AskAPI
from .scenario_values import Number, ScenarioError

ANY_TOKEN: Final = "token"
WAITING: Final = "waiting"


@attrs.frozen
class Ended:
    """The outcome of one caller."""

    outcome: str
    took: float | None = None
    retry_at: float | None = None


@attrs.define
class Callers:
    """All callers of one step, which call now and again as often as the step says.

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
    demand: asyncio.Task[None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.demand = asyncio.create_task(self._demand())

    def kill(self) -> None:
        """Cancel all callers, since their process was killed."""
        for task in [self.demand, *self.tasks]:
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
        except ScenarioError:
            raise
        except Exception as error:
            outcome = type(error).__name__
            retry_at = self.time_of(error.retry_at) if isinstance(error, TokenError) else None
        self.ended.append(Ended(outcome, self.clock.now() - begun, retry_at))

    async def _ask(self) -> str:
        if isinstance(self.step, AskAPI):
            options = _BODIES[self.step.body]()
            async with self._send(self.step.token, options) as response:
                return str(response.status)
        value = str((await self.vbc.token()).authorization.removeprefix("Bearer "))
        if self.server.has_ended(value):
            self.handed_out_dead.append(value)
        return value

    def _send(self, value: str | None, options: dict[str, Any]) -> RequestContext:
        if value is None:
            return self.vbc.post(PATH, **options)
        alive = {str(token.value): token for token in self.vbc._holder.live_tokens()}
        if value not in alive:
            raise ScenarioError(f"step {self.number}: {value!r} is not live: {', '.join(alive)}")
        return self.vbc.request_with(alive[value], "POST", PATH, **options)

    def judge(self) -> list[Problem]:
        """Return what was not as expected, including the rules of every scenario."""
        expect = self.step.expect
        counts = self._counts()
        expected: Mapping[str, Any] = {name: count for name, count in counts.items() if name != WAITING}
        if expect is not None:
            expected = expect.outcome if isinstance(expect.outcome, dict) else {expect.outcome: len(self.tasks)}
        if ANY_TOKEN in expected:
            counts = Counter(ANY_TOKEN if name in self.server.made else name for name in counts.elements())
        problems = self._unless_fits("outcome", expected, dict(counts))
        problems += self._unless_fits("a token past its life", [], self.handed_out_dead)
        if expect is not None:
            stayed = [ended for ended in self.ended if ended.took is not None]
            problems += self._first_that_differs("took", expect.took, [ended.took for ended in stayed])
            problems += self._first_that_differs("retry_at", expect.retry_at, [ended.retry_at for ended in stayed])
        return problems

    def _counts(self) -> Counter[str]:
        counts = Counter(ended.outcome for ended in self.ended)
        if waiting := sum(not task.done() for task in self.tasks):
            counts[WAITING] = waiting
        return counts

    def _unless_fits(self, what: str, expected: object, got: object) -> list[Problem]:
        return [] if fits(expected, got) else [Problem(self.number, what, expected, got)]

    def _first_that_differs(self, what: str, expected: Number, got: list[float | None]) -> list[Problem]:
        if expected == ANYTHING:
            return []
        return [Problem(self.number, what, expected, rounded(value)) for value in got if not fits(expected, value)][:1]


async def _stream() -> AsyncIterator[bytes]:
    yield b"{}"


_BODIES: dict[str, Callable[[], dict[str, Any]]] = {
    "none": dict,
    "json": lambda: {"json": {}},
    "stream": lambda: {"data": _stream()},
}
