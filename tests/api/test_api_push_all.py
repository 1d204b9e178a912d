"""Test `push_all` and `push_chunks` for lost or repeated records, order of errors and bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import aiohttp
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from truecaller_vbc import (
    APIError,
    APIPolicy,
    BadRequestError,
    CallRecord,
    Chunk,
    ChunkResult,
    ConfigurationError,
    FailedChunk,
    ForbiddenError,
    InvalidChunk,
    InvalidRecordError,
    NotFoundError,
    Problem,
    Progress,
    RateLimitedError,
    TokenEndpointError,
    UnauthorizedError,
    UnknownOutcomeError,
    VBCSession,
)
from truecaller_vbc.api.push import build_chunk
from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules

from ..token.virtual_time import run_virtual
from .sandbox_session import FAST, HOUR, count_requests, fields, receiver, record, sandbox_session


def digits(one: CallRecord) -> int:
    """Return the receiver as the sandbox counts it."""
    return int(one.receiver_number)


def rows(count: int) -> Iterator[CallRecord]:
    """Yield this many records."""
    template = record()
    for number in range(count):
        yield attrs.evolve(template, receiver_number=receiver(number))


async def collect(results: AsyncIterator[ChunkResult], into: list[ChunkResult]) -> None:
    """Append all results to `into`, so that they are kept if an error follows."""
    async for result in results:
        into.append(result)  # noqa: PERF401 - extend would keep none of them


async def test_everything_is_acknowledged_once() -> None:
    """Records are sent in chunks of 500, each announced before it is sent and counted after."""
    sent: list[Chunk] = []
    progress: list[Progress] = []
    async with sandbox_session() as (sandbox, vbc):
        results = [
            result async for result in vbc.calls.push_all(rows(1234), on_send=sent.append, on_progress=progress.append)
        ]

        assert Counter(sandbox.accepted.values()) == {1: 1234}
        assert {result.batch.batch_id: result.batch.size for result in results if result.batch} == sandbox.batches
    assert sorted((result.chunk.first, result.chunk.size, result.outcome) for result in results) == [
        (0, 500, "acknowledged"),
        (500, 500, "acknowledged"),
        (1000, 234, "acknowledged"),
    ]
    assert sorted(chunk.first for chunk in sent) == [0, 500, 1000]
    assert progress[-1] == Progress(acknowledged=1234, chunks=3)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_invalid_records_are_left_out_and_named(asynchronous: bool) -> None:
    """Invalid records are named by their position in the input, and the others are sent."""
    late = record(4, starts_at=1_700_000_000_000, ends_at=1_700_000_000_000 + HOUR)
    given: list[Any] = [record(0), fields(1), fields(2, caller_number="x"), None, late]

    async def stream() -> AsyncIterator[Any]:
        for one in given:
            yield one

    async with sandbox_session() as (sandbox, vbc):
        (result,) = [one async for one in vbc.calls.push_all(stream() if asynchronous else given)]

        assert result.outcome == "acknowledged"
        assert (result.chunk.size, result.chunk.positions) == (5, (0, 1))
        assert [(problem.position, problem.field) for problem in result.chunk.invalid] == [
            (2, "caller_number"),
            (3, ""),
            (4, "ends_at"),
        ]
        assert sum(sandbox.accepted.values()) == 2


async def test_chunk_without_valid_records_is_not_sent() -> None:
    """Such a chunk has a result, but costs no request."""
    async with sandbox_session() as (sandbox, vbc):
        (result,) = [one async for one in vbc.calls.push_all([{}])]

        assert (result.outcome, result.batch, result.error) == ("invalid", None, None)
        assert [one async for one in vbc.calls.push_all([])] == []
        assert sandbox.token_requests == 0


async def test_refused_chunk_does_not_stop_the_others() -> None:
    """The result of a refused chunk has its error and its records."""
    given = [*rows(500), *[record(number, label_id="other") for number in range(500, 1000)], *rows(10)]
    async with sandbox_session() as (_, vbc):
        results = {result.chunk.first: result async for result in vbc.calls.push_all(given)}

    assert {first: result.outcome for first, result in results.items()} == {
        0: "acknowledged",
        500: "refused",
        1000: "acknowledged",
    }
    assert isinstance(results[500].error, BadRequestError)
    assert results[500].chunk.records == tuple(given[500:1000])


async def test_chunk_of_unknown_outcome_is_not_repeated() -> None:
    """A chunk that was accepted but whose answer was lost is sent once."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.fail_next("batch", drop="after")
        results = [result async for result in vbc.calls.push_all(rows(1500), in_flight=1)]

        assert [result.outcome for result in results] == ["unknown", "acknowledged", "acknowledged"]
        assert isinstance(results[0].error, UnknownOutcomeError)
        assert results[0].error.records == results[0].chunk.records
        assert Counter(sandbox.accepted.values()) == {1: 1500}


async def test_unknown_outcomes_in_a_row_stop_it() -> None:
    """After three unknown outcomes in a row, what was read has a result, and the rest is not read."""
    source = rows(500 * 50)
    async with sandbox_session() as (sandbox, vbc):
        sandbox.set_outage("batch", status=504)
        results: list[ChunkResult] = []
        with pytest.raises(UnknownOutcomeError):
            await collect(vbc.calls.push_all(source, in_flight=2), results)

        assert {result.outcome for result in results} == {"unknown"}
        assert 3 <= len(results) <= 5
        assert sum(1 for _ in source) == 500 * (50 - len(results))
        assert count_requests(sandbox, "dynamic_call_records") == len(results)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("endpoint", "fault", "error", "outcome"),
    [
        ("token", {"status": 503}, TokenEndpointError, "unsent"),
        ("batch", {"status": 401}, UnauthorizedError, "refused"),
        ("batch", {"status": 403}, ForbiddenError, "refused"),
        ("batch", {"status": 404}, NotFoundError, "refused"),
        ("batch", {"status": 429}, RateLimitedError, "refused"),
    ],
)
async def test_fatal_error_stops_it(endpoint: Any, fault: Any, error: type[Exception], outcome: str) -> None:
    """An error that every other chunk would get is raised after the results of the chunks that were read."""
    source = rows(500 * 50)
    async with sandbox_session() as (sandbox, vbc):
        sandbox.set_outage(endpoint, **fault)
        results: list[ChunkResult] = []
        with pytest.raises(error):
            await collect(vbc.calls.push_all(source), results)

        assert {result.outcome for result in results} == {outcome}
        assert sum(1 for _ in source) == 500 * (50 - len(results))
        assert not sandbox.accepted


async def test_failing_source_loses_no_record() -> None:
    """The records read before the source failed are sent, and then its error is raised."""

    def source() -> Iterator[CallRecord]:
        yield from rows(700)
        raise OSError("the disk is gone")

    async with sandbox_session() as (sandbox, vbc):
        results: list[ChunkResult] = []
        with pytest.raises(OSError, match="the disk"):
            await collect(vbc.calls.push_all(source()), results)

        assert sorted(result.chunk.size for result in results) == [200, 500]
        assert sum(sandbox.accepted.values()) == 700


async def test_aclose_ends_tasks_and_closes_the_source() -> None:
    """`aclose` ends all tasks and closes the source."""
    closed = False

    async def source() -> AsyncIterator[CallRecord]:
        nonlocal closed
        try:
            for one in rows(5000):
                yield one
        finally:
            closed = True

    async with sandbox_session() as (_, vbc):
        results = vbc.calls.push_all(source())
        await anext(results)
        await results.aclose()

        assert closed
        running = {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}
        assert not {name for name in running if name in ("_send_chunk", "_next_chunk")}


async def test_reading_is_bounded_by_the_chunks_in_flight() -> None:
    """No more records are read than may be sent."""
    read = 0

    def source() -> Iterator[CallRecord]:
        nonlocal read
        for one in rows(10_000):
            read += 1
            yield one

    async with sandbox_session() as (_, vbc):
        done = 0
        async for result in vbc.calls.push_all(source(), in_flight=2):
            done += result.chunk.size
            assert read <= done + 2 * 500
    assert done == 10_000


@pytest.mark.slow
def test_rate_of_batches() -> None:
    """60 batches are sent in a minute, independent of the answers' duration."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with sandbox_session(APIPolicy(), batch_per_minute=60) as (sandbox, vbc):
            began = loop.time()
            async for result in vbc.calls.push_all(rows(500 * 61), in_flight=8):
                assert result.outcome == "acknowledged"
            assert sum(sandbox.batches.values()) == 500 * 61
            return loop.time() - began

    assert 60 <= run_virtual(main()) < 63


@pytest.mark.parametrize("in_flight", [0, 1.5, True])
async def test_invalid_in_flight(in_flight: Any) -> None:
    """An invalid `in_flight` raises ConfigurationError before anything is read."""
    async with sandbox_session() as (_, vbc):
        with pytest.raises(ConfigurationError, match="in_flight"):
            vbc.calls.push_all([], in_flight=in_flight)


FAULTS: list[Any] = [
    None,
    {"status": 400},
    {"status": 429, "headers": {"Retry-After": "1"}},
    {"status": 500},
    {"status": 502, "body": "<html>Bad gateway</html>"},
    {"status": 503, "headers": {"Retry-After": "1"}},
    {"status": 200, "body": "{}"},
    {"status": 200, "body": "<html>"},
    {"drop": "before"},
    {"drop": "mid"},
    {"drop": "after"},
    {"delay": 40.0},
    {"status": 500, "mint": True},
]


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(FAULTS), max_size=8), st.integers(0, 3000), st.integers(1, 4))
def test_exactly_once_or_unknown(faults: list[Any], count: int, in_flight: int) -> None:
    """For any faults, acknowledged means accepted once, and refused and unsent mean never accepted."""

    async def main() -> None:
        async with sandbox_session(APIPolicy()) as (sandbox, vbc):
            for fault in faults:
                if fault is None:
                    sandbox.fail_next("batch", delay=0.1)
                else:
                    sandbox.fail_next("batch", **fault)
            results: list[ChunkResult] = []
            try:
                await collect(vbc.calls.push_all(rows(count), in_flight=in_flight), results)
            except UnknownOutcomeError:
                pass
            else:
                assert sum(result.chunk.size for result in results) == count
            await asyncio.sleep(60)  # until the delayed requests at the sandbox are done
            seen = [position for result in results for position in result.chunk.positions]
            assert len(seen) == len(set(seen))
            for result in results:
                times = [sandbox.accepted[digits(one)] for one in result.chunk.records]
                match result.outcome:
                    case "acknowledged":
                        assert set(times) == {1}
                    case "unknown":
                        assert set(times) <= {0, 1}
                    case _:
                        assert set(times) <= {0}

    run_virtual(main())


@pytest.mark.slow
async def test_failing_on_send_loses_no_result() -> None:
    """If `on_send` raises, its chunk is not sent, and the error follows the results of the chunks in flight."""
    calls = 0

    def journal(_: Chunk) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise aiohttp.ConnectionTimeoutError("no space left")  # a kind of error that is retried

    source = rows(500 * 50)
    async with sandbox_session() as (sandbox, vbc):
        sandbox.fail_next("batch", delay=0.1, times=2)
        results: list[ChunkResult] = []
        with pytest.raises(aiohttp.ConnectionTimeoutError, match="no space left"):
            await collect(vbc.calls.push_all(source, on_send=journal), results)

        assert Counter(result.outcome for result in results)["unsent"] == 1
        assert {result.outcome for result in results} == {"unsent", "acknowledged"}
        sent = sum(result.chunk.size for result in results if result.outcome == "acknowledged")
        assert sum(sandbox.accepted.values()) == sent
        assert sum(1 for _ in source) == 500 * (50 - len(results))


async def test_failing_on_progress_loses_no_result() -> None:
    """If `on_progress` raises, the chunks in flight have results, and it is not called again."""
    calls = 0

    def progress(_: Progress) -> None:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError

    async with sandbox_session() as (sandbox, vbc):
        results: list[ChunkResult] = []
        with pytest.raises(ZeroDivisionError):
            await collect(vbc.calls.push_all(rows(500 * 50), in_flight=3, on_progress=progress), results)

        assert sum(result.chunk.size for result in results) == sum(sandbox.accepted.values()) <= 500 * 4
        assert calls == 1


class _Broken(dict[str, Any]):
    def get(self, *_: Any) -> Any:
        raise StopIteration


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_source_that_reuses_one_mapping(asynchronous: bool) -> None:
    """Each record is what the mapping was when it was yielded."""
    row: dict[str, Any] = {}

    def rows() -> Iterator[dict[str, Any]]:
        for position in range(3):
            row.update(fields(position))
            yield row
        row["receiver_number"] = "x"
        yield row
        row.clear()

    async def rows_later() -> AsyncIterator[dict[str, Any]]:
        for one in rows():
            yield one

    async with sandbox_session() as (sandbox, vbc):
        results = [result async for result in vbc.calls.push_all(rows_later() if asynchronous else rows())]
        assert [problem.position for problem in results[0].chunk.invalid] == [3]
        assert sandbox.accepted == Counter(int(receiver(position)) for position in range(3))


async def test_mapping_that_raises_is_an_invalid_record() -> None:
    """A mapping whose `get` raises is an invalid record, and the others of its chunk are sent."""
    given: list[Any] = [*rows(700), _Broken(), *rows(10)]
    async with sandbox_session() as (sandbox, vbc):
        results: list[ChunkResult] = []
        await collect(vbc.calls.push_all(given), results)

        assert sum(result.chunk.size for result in results) == 711
        assert sum(sandbox.accepted.values()) == 710
        (problem,) = [problem for result in results for problem in result.chunk.invalid]
        assert (problem.position, problem.text) == (700, "cannot be read (StopIteration)")


async def test_source_that_raises_cancelled_error() -> None:
    """A CancelledError of the source is raised like any other error of it."""

    async def source() -> AsyncIterator[CallRecord]:
        for one in rows(700):
            yield one
        raise asyncio.CancelledError

    async with sandbox_session() as (sandbox, vbc):
        results: list[ChunkResult] = []
        with pytest.raises(asyncio.CancelledError):
            await collect(vbc.calls.push_all(source()), results)

        assert sum(result.chunk.size for result in results) == sum(sandbox.accepted.values()) == 700


async def test_waiting_source_does_not_delay_a_fatal_error() -> None:
    """A fatal error ends the wait for the source, and the records read before have a result."""
    closed = False

    async def source() -> AsyncIterator[CallRecord]:
        nonlocal closed
        try:
            for one in rows(1010):
                yield one
            await asyncio.sleep(3600)
        finally:
            closed = True

    async with sandbox_session() as (sandbox, vbc), asyncio.timeout(30):
        sandbox.set_outage("batch", status=403)
        results: list[ChunkResult] = []
        with pytest.raises(ForbiddenError):
            await collect(vbc.calls.push_all(source()), results)

        assert sorted(result.chunk.size for result in results) == [10, 500, 500]
        assert closed


@pytest.mark.parametrize("after", [0.02, 0.2])
async def test_cancellation_ends_tasks_and_closes_the_source(after: float) -> None:
    """A cancellation while reading or sending is raised as such, and the source is closed."""
    closed = False

    async def source() -> AsyncIterator[CallRecord]:
        nonlocal closed
        try:
            for one in rows(700):
                yield one
            await asyncio.sleep(3600)
        finally:
            closed = True

    async with sandbox_session() as (sandbox, vbc), asyncio.timeout(30):
        sandbox.set_outage("batch", delay=60)
        running = asyncio.create_task(collect(vbc.calls.push_all(source()), []))
        await asyncio.sleep(after)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert closed


async def test_undocumented_error_is_an_unknown_outcome() -> None:
    """An error of a middleware makes the outcome of its chunk unknown, and the others have their results."""

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        if b"+917000015000" in cast(Any, request.body)._value:  # of the second chunk
            response.close()
            raise KeyError("mine")
        return response

    async with (
        Sandbox(SandboxRules(api=ApiRules(batch_per_minute=None))) as sandbox,
        aiohttp.ClientSession(middlewares=(middleware,)) as http,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, api_policy=FAST, http=http) as vbc,
    ):
        results = {result.chunk.first: result async for result in vbc.calls.push_all(rows(1500))}

        assert {first: result.outcome for first, result in results.items()} == {
            0: "acknowledged",
            500: "unknown",
            1000: "acknowledged",
        }
        error = results[500].error
        assert isinstance(error, UnknownOutcomeError)
        assert error.records == results[500].chunk.records
        assert isinstance(error.__cause__, KeyError)


async def test_known_outcome_resets_the_count_of_unknown_ones() -> None:
    """Only three unknown outcomes in a row stop it."""
    async with sandbox_session() as (sandbox, vbc):
        for drop in (True, True, False, True, True, False, True, True, True):
            sandbox.fail_next("batch", **({"drop": "after"} if drop else {"delay": 0.001}))
        results: list[ChunkResult] = []
        with pytest.raises(UnknownOutcomeError):
            await collect(vbc.calls.push_all(rows(500 * 20), in_flight=1), results)

    assert len(results) == 9


async def test_first_fatal_error_is_raised() -> None:
    """Later errors of chunks in flight do not replace the first one."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.fail_next("batch", status=404)
        sandbox.set_outage("batch", status=403, delay=0.2)
        results: list[ChunkResult] = []
        with pytest.raises(NotFoundError):
            await collect(vbc.calls.push_all(rows(2000)), results)
        assert any(isinstance(result.error, ForbiddenError) for result in results)


async def test_on_send_is_called_once_for_a_chunk() -> None:
    """`on_send` is called before the first attempt, and not again for a retry."""
    announced: list[Chunk] = []
    async with sandbox_session() as (sandbox, vbc):
        sandbox.fail_next("batch", status=429, times=2)
        results = [result async for result in vbc.calls.push_all(rows(10), on_send=announced.append)]

    assert announced == [results[0].chunk]


def test_progress_counts_records() -> None:
    """Invalid records are counted in chunks of their own and beside valid ones."""
    problem = Problem("", "odd")
    none = Chunk(0, 5, (), (), (problem,) * 5)
    some = Chunk(5, 3, (record(),), (5,), (problem,) * 2)
    seen = Progress().after(InvalidChunk(none)).after(FailedChunk(some, TimeoutError()))

    assert seen == Progress(unsent=1, invalid=7, chunks=2)


def chunk_of(first: int, *given: CallRecord | InvalidRecordError) -> Chunk:
    """Build a chunk as a caller of `push_chunks` does."""
    return build_chunk(first, given, time.time())


async def test_push_chunks_keeps_positions() -> None:
    """Chunks are sent as they are, with gaps between them and the caller's own problems."""
    late = record(4, starts_at=1_700_000_000_000, ends_at=1_700_000_000_000 + HOUR)
    sent: list[Chunk] = []

    async def chunks() -> AsyncIterator[Chunk]:
        yield chunk_of(500, record(0), InvalidRecordError([Problem("", "the row is cut off")]), late)
        yield chunk_of(1500, InvalidRecordError([Problem("", "odd")]))
        yield chunk_of(2000, record(1))

    async with sandbox_session() as (sandbox, vbc):
        results = {result.chunk.first: result async for result in vbc.calls.push_chunks(chunks(), on_send=sent.append)}

        assert sandbox.accepted == Counter({digits(record(0)): 1, digits(record(1)): 1})
    assert {first: result.outcome for first, result in results.items()} == {
        500: "acknowledged",
        1500: "invalid",
        2000: "acknowledged",
    }
    assert sorted(chunk.first for chunk in sent) == [500, 2000]
    assert (results[500].chunk.size, results[500].chunk.positions) == (3, (500,))
    assert [(it.position, it.field, it.text) for it in results[500].chunk.invalid] == [
        (501, "", "the row is cut off"),
        (502, "ends_at", "lies in the past: the window has closed"),
    ]


async def test_push_chunks_with_a_failing_source() -> None:
    """An error of the chunks' source is raised after the results of the chunks before it."""

    async def chunks() -> AsyncIterator[Chunk]:
        yield chunk_of(0, record(0))
        raise OSError("the disk is gone")

    async with sandbox_session() as (_, vbc):
        results: list[ChunkResult] = []
        with pytest.raises(OSError, match="the disk"):
            await collect(vbc.calls.push_chunks(chunks()), results)
    assert [result.outcome for result in results] == ["acknowledged"]


async def test_push_chunks_with_a_waiting_source() -> None:
    """A fatal error cancels a read that waits, and closes the source."""
    closed = False

    async def chunks() -> AsyncIterator[Chunk]:
        nonlocal closed
        try:
            yield chunk_of(0, record(0))
            await asyncio.sleep(3600)
        finally:
            closed = True

    async with sandbox_session() as (sandbox, vbc), asyncio.timeout(30):
        sandbox.set_outage("batch", status=403)
        results: list[ChunkResult] = []
        with pytest.raises(ForbiddenError):
            await collect(vbc.calls.push_chunks(chunks()), results)
    assert [result.outcome for result in results] == ["refused"]
    assert closed


async def test_source_that_is_not_iterable() -> None:
    """Reading the first result raises TypeError."""
    wrong: Any = 7
    async with sandbox_session() as (_, vbc):
        with pytest.raises(TypeError):
            await anext(vbc.calls.push_all(wrong))


async def test_window_that_closes_while_a_live_source_is_read() -> None:
    """A record that is stale when it is yielded, or when its chunk leaves, is not sent, and is named."""
    clock = [time.time()]
    announced: list[Chunk] = []
    late = {"starts_at": int(clock[0] * 1000) - HOUR, "ends_at": int(clock[0] * 1000) + 1000}

    async def source() -> AsyncIterator[CallRecord]:
        yield record(0)
        clock[0] += 2
        yield record(1, **late)

    async with sandbox_session() as (sandbox, vbc):
        vbc.calls._now = lambda: clock[0]
        (result,) = [one async for one in vbc.calls.push_all(source(), on_send=announced.append)]
        assert (result.outcome, result.chunk.positions) == ("acknowledged", (0,))
        assert [problem.position for problem in result.chunk.invalid] == [1]
        assert announced == [result.chunk]

        clock[0] -= 2
        sandbox.fail_next("batch", status=429, headers={"Retry-After": "0.05"})
        call = asyncio.create_task(anext(vbc.calls.push_all([record(2), record(3, **late)], on_send=announced.append)))
        while len(announced) < 2:
            await asyncio.sleep(0.001)
        clock[0] += 2
        result = await call
        assert (result.outcome, result.chunk.positions, result.chunk.size) == ("acknowledged", (0,), 2)
        assert [problem.position for problem in result.chunk.invalid] == [1]
        assert len(announced) == 2  # the chunk was announced with both
        assert set(sandbox.accepted) == {digits(record(0)), digits(record(2))}


async def test_redirect_stops_it() -> None:
    """A redirect would be the answer to every batch."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.set_outage("batch", status=302, headers={"Location": "/login"})
        results: list[ChunkResult] = []
        with pytest.raises(APIError):
            await collect(vbc.calls.push_all(rows(500 * 50)), results)
        assert {result.outcome for result in results} == {"refused"}
        assert len(results) < 10


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_source_that_raises_a_base_exception(error: type[BaseException]) -> None:
    """What was read before is sent, and has its results."""

    async def source() -> AsyncIterator[CallRecord]:
        for one in rows(700):
            yield one
        raise error

    async with sandbox_session() as (sandbox, vbc):
        results: list[ChunkResult] = []
        with contextlib.suppress(error):
            await collect(vbc.calls.push_all(source()), results)
        assert sum(result.chunk.size for result in results) == sum(sandbox.accepted.values()) == 700
