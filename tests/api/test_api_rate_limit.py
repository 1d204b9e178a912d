"""Test the rate limiter's bound, order and wake-ups."""

from __future__ import annotations

import asyncio
import contextlib
import time
from itertools import pairwise

import aiohttp
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from truecaller_vbc import SessionClosedError, VBCSession
from truecaller_vbc.api.rate_limit import RateLimiter
from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules

from ..token.virtual_time import LoopClock, run_virtual
from .sandbox_session import record


class _Counted(RateLimiter):
    """Count the timer's wake-ups."""

    __slots__ = ("wakes",)

    def __init__(self, most: int, seconds: float) -> None:
        super().__init__(most, seconds)
        self.wakes = 0

    def _wake(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.wakes += 1
        super()._wake(loop, due)


class _Blocking(RateLimiter):
    """Block the loop after the first grant, before the waiter runs."""

    __slots__ = ("blocked",)

    def _wake(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        super()._wake(loop, due)
        if not hasattr(self, "blocked"):
            self.blocked = True
            time.sleep(0.15)


@given(
    most=st.integers(1, 20),
    seconds=st.sampled_from([1, 60, 1 / 3, 0.07]),
    arrivals=st.lists(st.floats(0, 5), min_size=1, max_size=80),
)
@example(most=5, seconds=1, arrivals=[0.0] * 40)
@example(most=7, seconds=1, arrivals=[0.0] * 200)
@example(most=9, seconds=1, arrivals=[i / 3 for i in range(60)])
def test_no_window_has_too_many(most: int, seconds: float, arrivals: list[float]) -> None:
    """No window has too many starts for any arrivals, and each waiter costs at most one wake-up."""
    starts: list[float] = []

    async def main() -> int:
        limiter = _Counted(most, seconds)
        loop = asyncio.get_running_loop()

        async def one(at: float) -> None:
            await asyncio.sleep(at)
            await limiter.acquire()
            starts.append(loop.time())

        await asyncio.gather(*(one(at) for at in arrivals))
        return limiter.wakes

    wakes = run_virtual(main())

    starts.sort()
    assert len(starts) == len(arrivals)
    assert all(later - earlier >= seconds for earlier, later in zip(starts, starts[most:], strict=False))
    assert wakes <= len(arrivals)


def test_first_come_first_served() -> None:
    """A later arrival does not overtake a waiter."""
    order: list[int] = []

    async def main() -> None:
        limiter = RateLimiter(1, 1)

        async def one(number: int) -> None:
            await asyncio.sleep(number / 100)
            await limiter.acquire()
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(6)))

    run_virtual(main())
    assert order == [0, 1, 2, 3, 4, 5]


def test_cancelled_waiters_use_no_place() -> None:
    """Cancelled waiters leave their places to later ones."""

    async def main() -> float:
        limiter = RateLimiter(1, 1)
        await limiter.acquire()
        crowd = [asyncio.create_task(limiter.acquire()) for _ in range(1000)]
        await asyncio.sleep(0.5)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        await limiter.acquire()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(1.02)


def test_granted_place_of_a_cancelled_waiter_is_returned() -> None:
    """A waiter that is cancelled just after its place was granted returns the place."""

    async def main() -> float:
        limiter = RateLimiter(1, 1)
        await limiter.acquire()
        first = asyncio.create_task(limiter.acquire())
        second = asyncio.create_task(limiter.acquire())
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        # Due just after the limiter's timer: the place is granted, and the waiter has not run yet.
        loop.call_at(1.02, first.cancel)
        await second
        assert first.cancelled()
        return loop.time()

    assert run_virtual(main()) == pytest.approx(1.02)


def test_returned_place_is_the_granted_one() -> None:
    """A place that is returned is the one that was granted, not that of an earlier start."""

    async def main() -> list[float]:
        limiter = RateLimiter(2, 1)
        loop = asyncio.get_running_loop()
        await limiter.acquire()
        await asyncio.sleep(0.5)
        await limiter.acquire()
        first = asyncio.create_task(limiter.acquire())
        others = [asyncio.create_task(limiter.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        loop.call_at(1.02, first.cancel)
        times: list[float] = []
        for other in others:
            await other
            times.append(loop.time())
        return times

    assert run_virtual(main()) == pytest.approx([1.02, 1.52])


def test_cancelled_waiter_after_a_blocked_loop() -> None:
    """A granted place whose window has passed may be reused before its waiter is cancelled."""

    async def main() -> None:
        limiter = RateLimiter(1, 0.02)
        await limiter.acquire()
        first = asyncio.create_task(limiter.acquire())
        loop = asyncio.get_running_loop()
        due = loop.create_future()

        async def block_the_loop() -> None:
            await due
            first.cancel()
            time.sleep(0.05)  # noqa: ASYNC251 - the loop is blocked
            await limiter.acquire()

        second = asyncio.create_task(block_the_loop())
        await asyncio.sleep(0)
        # Set before the limiter's timer fires, so that the cancellation comes before the waiter runs.
        loop.call_later(0, due.set_result, None)
        time.sleep(0.05)  # noqa: ASYNC251 - until both are due
        await asyncio.wait_for(second, 10)
        await asyncio.wait({first}, timeout=10)
        assert first.cancelled()

    asyncio.run(main())


def test_pause_applies_to_all() -> None:
    """A pause applies to waiters and to later arrivals."""

    async def main() -> list[float]:
        limiter = RateLimiter(1, 1)
        loop = asyncio.get_running_loop()
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        limiter.pause_until(loop.time() + 10)
        await waiting
        first = loop.time()
        limiter.pause_until(loop.time() + 5)
        await limiter.acquire()
        return [first, loop.time()]

    assert run_virtual(main()) == pytest.approx([10, 15])


def test_close_fails_waiters() -> None:
    """`close` fails waiters with SessionClosedError."""

    async def main() -> None:
        limiter = RateLimiter(1, 1)
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        limiter.close()
        with pytest.raises(SessionClosedError, match="not sent"):
            await waiting

    run_virtual(main())


def test_acquire_after_close() -> None:
    """`acquire` still returns after `close`: the session itself refuses the call."""

    async def main() -> float:
        limiter = RateLimiter(1, 1)
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        limiter.close()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(limiter.acquire(), 10)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(1.02)


def test_arrival_before_the_timer_does_not_overtake() -> None:
    """The first waiter gets the place that is due, although the timer has not fired yet."""

    async def main() -> bool:
        limiter = RateLimiter(1, 1)
        loop = asyncio.get_running_loop()
        await limiter.acquire()
        overtook = False

        def newcomer() -> None:
            nonlocal overtook
            arrival = limiter.acquire()
            try:
                arrival.send(None)
            except StopIteration:
                overtook = True
            arrival.close()

        loop.call_at(1.02, newcomer)
        await limiter.acquire()
        return overtook

    assert not run_virtual(main())


def test_shorter_pause_does_not_end_a_longer_one() -> None:
    """Of two pauses the later end counts."""

    async def main() -> float:
        limiter = RateLimiter(1, 1)
        limiter.pause_until(10)
        limiter.pause_until(5)
        await limiter.acquire()
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(10)


def test_timer_that_fires_early() -> None:
    """A timer that fires one clock tick early grants the place that it was set for."""

    async def main() -> float:
        limiter = RateLimiter(1, 1)
        loop = asyncio.get_running_loop()
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        limiter._wake(loop, 1.02)
        await waiting
        return loop.time()

    assert run_virtual(main()) == 0


def test_close_after_a_waiter_was_cancelled() -> None:
    """`close` skips a cancelled waiter that is still in the queue."""

    async def main() -> None:
        limiter = RateLimiter(1, 1)
        await limiter.acquire()
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        limiter.close()

    run_virtual(main())


async def test_blocked_loop_counts_a_start_when_it_happens() -> None:
    """A start that is granted before the loop is blocked is counted when its task runs."""
    loop = asyncio.get_running_loop()
    limiter = _Blocking(1, 0.1)
    await limiter.acquire()
    starts = [loop.time()]

    async def start() -> None:
        await limiter.acquire()
        starts.append(loop.time())

    waiting = [asyncio.create_task(start()) for _ in range(2)]
    await asyncio.gather(*waiting)
    assert min(later - earlier for earlier, later in pairwise(starts)) >= 0.1


@given(
    most=st.integers(1, 10),
    seconds=st.sampled_from([1, 60, 0.07]),
    callers=st.lists(
        st.tuples(st.sampled_from([0.0, 0.01, 1.02]) | st.floats(0, 5), st.none() | st.floats(0, 3)),
        min_size=1,
        max_size=80,
    ),
    pauses=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 2)), max_size=3),
)
@example(most=2, seconds=1, callers=[(0.0, None)] * 2 + [(0.0, 1.02)] * 20 + [(0.0, None)] * 4, pauses=[])
@example(most=3, seconds=1, callers=[(0.0, 0.0)] * 30 + [(1.02, 0.0)] * 30 + [(1.02, None)] * 9, pauses=[(0.5, 1.0)])
def test_no_window_has_too_many_in_a_storm_of_cancellations(
    most: int, seconds: float, callers: list[tuple[float, float | None]], pauses: list[tuple[float, float]]
) -> None:
    """Callers that give up at any time, also just as they are granted a place, neither free nor block a place."""
    starts: list[float] = []

    async def main() -> None:
        limiter = RateLimiter(most, seconds)
        loop = asyncio.get_running_loop()

        async def one(at: float, patience: float | None) -> None:
            await asyncio.sleep(at)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await limiter.acquire()
                    starts.append(loop.time())

        async def pause(at: float, length: float) -> None:
            await asyncio.sleep(at)
            limiter.pause_until(loop.time() + length)

        await asyncio.gather(*(one(*caller) for caller in callers), *(pause(*given) for given in pauses))

    run_virtual(main())
    starts.sort()
    assert len(starts) >= sum(patience is None for _, patience in callers)
    assert all(later - earlier >= seconds for earlier, later in zip(starts, starts[most:], strict=False))


@pytest.mark.parametrize("kind", ["push", "push_batch"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    patience=st.lists(st.none() | st.floats(0, 2), min_size=130, max_size=130),
    steps=st.lists(st.floats(-1800, 1800), max_size=20),
)
def test_rate_on_the_wire(kind: str, patience: list[float | None], steps: list[float]) -> None:
    """Calls that are cancelled, and a wall clock that is set forward and back, leave the documented rate as it is."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        clock = LoopClock(loop.time)
        began: list[float] = []

        async def note(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
            if "dynamic_call_record" in params.url.path:
                began.append(loop.time())

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(note)
        rules = SandboxRules(api=ApiRules(realtime_per_second=None, batch_per_minute=None))
        async with (
            Sandbox(rules) as sandbox,
            aiohttp.ClientSession(trace_configs=[trace]) as http,
            VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http, clock=clock) as vbc,
        ):
            await vbc.warm_up()

            async def call(limit: float | None) -> None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(limit):
                        await (vbc.calls.push(record()) if kind == "push" else vbc.calls.push_batch([record()]))

            async def set_clock() -> None:
                for step in steps:
                    clock.stepped = step
                    await asyncio.sleep(0.1)

            await asyncio.gather(set_clock(), *(call(limit) for limit in patience))
        return began

    began = run_virtual(main())
    most, seconds = (100, 1) if kind == "push" else (60, 60)
    assert len(began) >= sum(limit is None for limit in patience)
    assert all(later - earlier >= seconds for earlier, later in zip(began, began[most:], strict=False))
