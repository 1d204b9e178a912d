"""Play a scenario in virtual time, and report what was not as expected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, Final
from unittest import mock

import attrs

from truecaller_vbc import Credentials, TokenPolicy, VBCSession, backoff
from truecaller_vbc.token import minter, state
from truecaller_vbc.token.events import TokenEvent
from truecaller_vbc.token.model import fingerprint

from ..token.virtual_time import EPOCH, LoopClock, run_virtual
from .scenario_callers import Callers
from .scenario_format import Scenario
from .scenario_given import Draws, Process
from .scenario_judge import Problem, judge_look
from .scenario_server import ACCOUNT, BASE_URL, ScriptedServer
from .scenario_steps import (
    Advance,
    Ask,
    ChangeAPI,
    ChangeServer,
    ChangeStore,
    Close,
    Grow,
    Kill,
    Look,
    Open,
    Revoke,
    Step,
    StepWall,
    Suspend,
)
from .scenario_store import Box, BoxStore
from .scenario_values import ScenarioError

_PATIENCE: Final = 3600.0


def play(scenario: Scenario) -> list[str]:
    """Return a line for each problem."""
    return [problem.line(scenario.name) for problem in problems_of(scenario)]


def problems_of(scenario: Scenario) -> list[Problem]:
    """Return all problems as objects."""

    async def main() -> list[Problem]:
        world = World(scenario)
        with world.server.listening(), _drawing(scenario.given.draws):
            return await world.play()

    return run_virtual(main())


class _Uniform:
    """Stand-in for the module `random` that returns the scenario's draws."""

    def __init__(self, draws: list[float]) -> None:
        self._draws = list(draws)

    def uniform(self, least: float, most: float) -> float:
        draw = self._draws.pop(0) if len(self._draws) > 1 else self._draws[0]
        return least + (most - least) * draw


@contextmanager
def _drawing(draws: Draws) -> Iterator[None]:
    with ExitStack() as stack:
        for module, numbers in ((state, draws.refresh), (backoff, draws.backoff), (minter, draws.poll)):
            stack.enter_context(mock.patch.object(module, "random", _Uniform(numbers)))
        yield


@attrs.define
class Running:
    """A client process."""

    vbc: VBCSession
    clock: LoopClock
    store: BoxStore
    events: list[TokenEvent]
    asked: list[str]

    def time_of(self, at: datetime | None) -> float | None:
        """Convert an aware time of this process to seconds from the start."""
        return None if at is None else at.timestamp() - EPOCH - self.clock.stepped


class World:
    """The server, the store and the processes of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.policy = TokenPolicy(**scenario.given.policy)
        self.clock = LoopClock(asyncio.get_running_loop().time)
        self.server = ScriptedServer(scenario.given.server, self.clock)
        self.box = Box(self.clock.now)
        self.box.fill(scenario.given.store)
        self.box.clock_offset = scenario.given.store_clock
        self.processes: dict[str, Running] = {}
        self.callers: list[Callers] = []
        self.problems: list[Problem] = []

    async def play(self) -> list[Problem]:
        """Play all steps and check the end."""
        for process in self.scenario.given.processes:
            await self._open(process)
        for number, step in enumerate(self.scenario.steps, 1):
            await self._wait_for(number, step)
            await self._do(number, step)
        await self._all_ended()
        for callers in self.callers:
            self.problems += callers.judge()
        self._look(0, _with_the_rule(self.scenario.expected))
        for name in list(self.processes):
            await self._close(name)
        return self.problems

    async def _wait_for(self, number: int, step: Step) -> None:
        if step.at is None:
            await self._all_ended()
        elif step.at < self.clock.now() - 1e-6:
            raise ScenarioError(f"step {number} is to happen at {step.at}, but it is {self.clock.now():.3f} already")
        else:
            await asyncio.sleep(step.at - self.clock.now())

    async def _all_ended(self) -> None:
        if waiting := [callers for callers in self.callers if not callers.demand.done()]:
            longest = max(callers.step.until or 0.0 for callers in waiting)
            patience = max(0.0, longest - self.clock.now()) + _PATIENCE
            await asyncio.wait([callers.demand for callers in waiting], timeout=patience)

    async def _do(self, number: int, step: Step) -> None:
        match step:
            case Ask():
                self._ask(number, step)
            case Look():
                self._look(number, step.expect)
            case Advance() | StepWall() | Suspend():
                await self._pass_time(step)
            case ChangeServer() | ChangeAPI() | Revoke():
                self.server.change(step)
            case ChangeStore():
                self._change_store(step)
            case _:
                await self._live(step)

    async def _pass_time(self, step: Advance | StepWall | Suspend) -> None:
        match step:
            case Advance():
                await asyncio.sleep(step.seconds)
            case StepWall():
                for running in self._named(step.process):
                    running.clock.step(step.seconds)
            case Suspend():
                for clock in (self.clock, *(running.clock for running in self.processes.values())):
                    clock.suspend(step.seconds)

    async def _live(self, step: Step) -> None:
        match step:
            case Grow():
                self._running(step.process).vbc._holder.grow()
            case Open():
                await self._open(step.process)
            case Close():
                await self._close(step.process)
            case Kill():
                await self._kill(step.process)
            case _:
                raise ScenarioError(f"a runner must know every kind of step, {step.does!r} too")

    def _ask(self, number: int, step: Ask) -> None:
        it = self._running(step.process)
        self.callers.append(Callers(number, step, self.server, it.vbc, it.clock, it.time_of))

    def _change_store(self, step: ChangeStore) -> None:
        if step.trouble is not None:
            for running in self._named(step.process):
                running.store.trouble = step.trouble
        if step.leased_for is not None:
            self.box.lease_to(object(), step.leased_for)
        if step.contents is not None:
            self.box.fill(step.contents)

    def _named(self, name: str | None) -> list[Running]:
        return list(self.processes.values()) if name is None else [self._running(name)]

    def _running(self, name: str) -> Running:
        if name not in self.processes:
            raise ScenarioError(f"no process {name!r} is running: {', '.join(self.processes)}")
        return self.processes[name]

    async def _open(self, process: Process) -> None:
        clock = LoopClock(asyncio.get_running_loop().time)
        clock.suspend(self.clock.slept)
        clock.step(process.wall_offset)
        store, events, asked = BoxStore(self.box), list[TokenEvent](), list[str]()
        vbc = VBCSession(
            _credentials(process, asked),
            base_url=BASE_URL,
            store=store,
            policy=self.policy if process.tokens is None else attrs.evolve(self.policy, tokens=process.tokens),
            on_event=events.append,
            clock=clock,
        )
        await vbc.__aenter__()
        self.processes[process.name] = Running(vbc, clock, store, events, asked)

    async def _close(self, name: str) -> None:
        await self._running(name).vbc.close()
        del self.processes[name]

    async def _kill(self, name: str) -> None:
        running = self._running(name)
        running.store.dead = True
        if (attempt := running.vbc._holder._attempt) is not None:
            attempt._grace = 0  # type: ignore[attr-defined]  # a killed process waits for no answer
        for callers in self.callers:
            if callers.vbc is running.vbc:
                callers.kill()
        await self._close(name)

    def _look(self, number: int, expected: dict[str, Any]) -> None:
        self.problems += judge_look(number, expected, self._seen)

    def _seen(self, name: str) -> dict[str, Any]:
        if name == "server":
            server = self.server
            return {
                "mints": server.mints,
                "token_requests": server.token_requests,
                "api_requests": server.api_requests,
                "over_quota": server.over_quota,
            }
        if name == "store":
            return self.box.seen()
        return _process_seen(self._running(name), self.server)


def _process_seen(it: Running, server: ScriptedServer) -> dict[str, Any]:
    status = it.vbc.status()
    names = {fingerprint(value): value for value in server.made}
    return {
        "state": status.state,
        "token": status.fingerprint and names.get(status.fingerprint, "unknown"),
        "tokens": [names.get(token.fingerprint, "unknown") for token in status.tokens],
        "generation": status.generation,
        "expires_at": it.time_of(status.expires_at),
        "next_refresh_at": it.time_of(status.next_refresh_at),
        "mints_in_window": status.mints_in_window,
        "mints_left": status.mints_left,
        "retry_at": it.time_of(status.retry_at),
        "last_error": type(status.last_error).__name__ if status.last_error else None,
        "events": [type(event).__name__ for event in it.events],
        "ledger": [{"at": it.time_of(entry.at), "outcome": entry.outcome} for entry in it.vbc.ledger()],
        "asked": it.asked,
    }


def _credentials(process: Process, asked: list[str]) -> Credentials | Callable[[], Awaitable[Credentials]]:
    if not process.vault:
        return Credentials(ACCOUNT, process.key_id, process.api_key)
    keys = list(process.vault)

    async def vault() -> Credentials:
        asked.append(keys.pop(0) if len(keys) > 1 else keys[0])
        return Credentials(ACCOUNT, process.key_id, asked[-1])

    return vault


def _with_the_rule(expected: dict[str, Any]) -> dict[str, Any]:
    """Check that the server never had to refuse for its quota, unless the scenario expects it."""
    return {**expected, "server": {"over_quota": 0, **expected.get("server", {})}}
