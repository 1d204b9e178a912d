"""Test `push_all` that is cancelled at each of its await points, and sources that raise anything."""

from __future__ import annotations

import asyncio
import types
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any, Final, Self

import pytest

from truecaller_vbc import APIPolicy, CallRecord, ChunkResult, VBCSession
from truecaller_vbc.api import calls
from truecaller_vbc.api.push import Chunk
from truecaller_vbc.sandbox import Sandbox

from .sandbox_session import FAST, sandbox_session
from .test_api_push_all import collect, digits, rows

CHUNK: Final = 2
COUNT: Final = 7
STEPS_OF: Final = ("_next_chunk", "_send_chunk", "consume")
PACED: Final = APIPolicy(realtime_rate=None, batch_rate=2)


class StepCounter:
    """Count the await points of some coroutines, and cancel a task at one of them.

    Args:
        at: number of the await point, from 1 on.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0
        self.victim: asyncio.Task[Any] | None = None

    def create_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Create a task, as a task factory."""
        counted = self._counted(coro) if getattr(coro, "__name__", "") in STEPS_OF else coro
        return asyncio.Task(counted, loop=loop, **kwargs)

    async def _counted(self, coro: Coroutine[Any, Any, Any]) -> Any:
        return await self._steps(coro)

    @types.coroutine
    def _steps(self, coro: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        while True:
            try:
                awaited = coro.send(None) if error is None else coro.throw(error)
            except StopIteration as end:
                return end.value
            self.count += 1
            if self.count == self.at and self.victim is not None:
                self.victim.cancel()
            try:
                yield awaited
                error = None
            except BaseException as thrown:
                error = thrown


async def push_and_cancel(vbc: VBCSession, at: int, asynchronous: bool) -> tuple[bool, list[Chunk], list[ChunkResult]]:
    """Push, cancel at an await point, and return whether it was reached, what was announced, and the results."""
    announced: list[Chunk] = []
    results: list[ChunkResult] = []

    async def source() -> AsyncIterator[CallRecord]:
        for one in rows(COUNT):
            await asyncio.sleep(0)
            yield one

    async def consume() -> None:
        records: Any = source() if asynchronous else rows(COUNT)
        async for result in vbc.calls.push_all(records, in_flight=2, on_send=announced.append):
            results.append(result)
            await asyncio.sleep(0)

    loop = asyncio.get_running_loop()
    steps = StepCounter(at)
    loop.set_task_factory(steps.create_task)
    try:
        steps.victim = asyncio.create_task(consume())
        await asyncio.wait({steps.victim}, timeout=0.5)  # the pace may hold it for a minute
        steps.victim.cancel()
        await asyncio.gather(steps.victim, return_exceptions=True)
    finally:
        loop.set_task_factory(None)
    return steps.count >= at, announced, results


def check(sandbox: Sandbox, announced: list[Chunk], results: list[ChunkResult], before: Counter[int]) -> None:
    """Check what the server has against what was announced, and that each chunk was announced before it left."""
    taken = Counter(sandbox.accepted) - before
    told = {digits(one) for chunk in announced for one in chunk.records}
    assert taken.keys() <= told
    assert max(taken.values(), default=0) <= 1
    assert len({chunk.first for chunk in announced}) == len(announced)
    done = {digits(one) for result in results if result.batch for one in result.chunk.records}
    assert done <= taken.keys()
    assert {result.chunk.first for result in results} <= {chunk.first for chunk in announced}


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_cancelled_at_every_await_point(monkeypatch: pytest.MonkeyPatch, asynchronous: bool) -> None:
    """Wherever it is cancelled, what the server has was announced, and no task is left."""
    monkeypatch.setattr(calls, "MAX_RECORDS", CHUNK)
    outcomes = Counter[str]()
    async with sandbox_session(FAST) as (sandbox, vbc):
        await vbc.warm_up()
        reached = True
        results: list[ChunkResult] = []
        at = 0
        while reached:
            at += 1
            before = Counter(sandbox.accepted)
            tasks = asyncio.all_tasks()
            reached, announced, results = await push_and_cancel(vbc, at, asynchronous)
            assert not {task for task in asyncio.all_tasks() - tasks if "_chunk" in repr(task)}
            await asyncio.sleep(0.01)  # a request that has left arrives
            check(sandbox, announced, results, before)
            outcomes[f"{len(announced)} announced"] += 1
        assert len(results) == 4  # the last run was not cancelled
    assert at >= 15
    assert len(outcomes) == 5  # none to all of the chunks


async def test_cancelled_while_the_pace_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that waits for the pace is not announced."""
    monkeypatch.setattr(calls, "MAX_RECORDS", CHUNK)
    async with sandbox_session(PACED) as (sandbox, vbc):
        _, announced, results = await push_and_cancel(vbc, 10_000, asynchronous=True)
        check(sandbox, announced, results, Counter())

        assert len(announced) == len(results) == len(sandbox.batches) == 2


class Odd(BaseException):
    """An exception that nothing catches."""


class Source:
    """An iterator and async iterator that raises an error after this many records."""

    def __init__(self, before: int, error: BaseException) -> None:
        self.given = rows(before)
        self.error = error

    def give(self) -> CallRecord:
        """Return the next record, or raise the error."""
        if (one := next(self.given, None)) is None:
            raise self.error
        return one

    def generate(self) -> Iterator[CallRecord]:
        """Give them as a generator."""
        while True:
            yield self.give()

    async def generate_later(self) -> AsyncIterator[CallRecord]:
        """Give them as an async generator."""
        while True:
            yield self.give()


class Plain(Source):
    """An iterator."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> CallRecord:
        return self.give()


class Later(Source):
    """An async iterator."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CallRecord:
        return self.give()


SOURCES: Final[dict[str, Callable[[int, BaseException], Any]]] = {
    "generator": lambda before, error: Source(before, error).generate(),
    "async generator": lambda before, error: Source(before, error).generate_later(),
    "iterator": Plain,
    "async iterator": Later,
}
ERRORS: Final = [Odd, KeyboardInterrupt, SystemExit, asyncio.CancelledError, MemoryError, StopAsyncIteration]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("before", [0, 1, 2, 5])
@pytest.mark.parametrize("kind", SOURCES)
async def test_source_that_raises_anything(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], before: int, kind: str
) -> None:
    """Whatever a source raises, what it gave before is sent and has its results, and the error is raised then."""
    monkeypatch.setattr(calls, "MAX_RECORDS", CHUNK)
    async with sandbox_session(FAST) as (sandbox, vbc):
        results: list[ChunkResult] = []
        raised: BaseException | None = None
        try:
            await collect(vbc.calls.push_all(SOURCES[kind](before, error("from the source"))), results)
        except BaseException as caught:
            raised = caught

        ends = error is StopAsyncIteration and kind == "async iterator"  # that is how such a source ends
        assert raised is None if ends else "from the source" in repr([raised, raised and raised.__cause__])
        assert sum(len(result.chunk.records) for result in results) == before
        assert {result.outcome for result in results} <= {"acknowledged"}
        assert sum(sandbox.accepted.values()) == before


@pytest.mark.parametrize("stop", ["end", "refused", "closed"])
async def test_async_generator_is_closed(monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    """An async generator is closed, however it ends, although the caller keeps it."""
    monkeypatch.setattr(calls, "MAX_RECORDS", CHUNK)
    closed: list[str] = []

    async def source() -> AsyncIterator[CallRecord]:
        try:
            for one in rows(50):
                yield one
        finally:
            closed.append("closed")

    async with sandbox_session(FAST) as (sandbox, vbc):
        if stop == "refused":
            sandbox.set_outage("batch", status=403)
        kept = source()
        pushing = vbc.calls.push_all(kept)
        await anext(pushing)
        if stop == "closed":
            await pushing.aclose()
        else:
            await asyncio.gather(collect(pushing, []), return_exceptions=True)
        assert closed == ["closed"]
        assert kept is not None
