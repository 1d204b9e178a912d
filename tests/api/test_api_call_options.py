"""Limit single calls, and see what calls wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from truecaller_vbc import (
    APIPolicy,
    CallFinished,
    ConfigurationError,
    PaceExceededError,
)

from .sandbox_session import FAST, FEATURE_SET, count_requests, record, sandbox_session

END = "/dynamic_call_record"


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]


CALLS: dict[str, Callable[..., Awaitable[Any]]] = {
    "calls.push": lambda vbc, **options: vbc.calls.push(record(), **options),
    "calls.push_batch": lambda vbc, **options: vbc.calls.push_batch([record()], **options),
    "calls.batch_status": lambda vbc, **options: vbc.calls.batch_status("batch", **options),
    "labels.list": lambda vbc, **options: vbc.labels.list(**options),
    "numbers.feature_sets": lambda vbc, **options: _all(vbc.numbers.feature_sets(**options)),
    "numbers.numbers": lambda vbc, **options: _all(vbc.numbers.numbers(**options)),
    "numbers.publish": lambda vbc, **options: vbc.numbers.publish(FEATURE_SET, ["+911140001234"], **options),
    "numbers.delist": lambda vbc, **options: vbc.numbers.delist(FEATURE_SET, ["+911140001234"], **options),
}


@pytest.mark.parametrize("name", CALLS)
async def test_timeout_and_attempts_of_one_call(name: str) -> None:
    """Each typed call takes its own deadline and number of attempts; the next one has those of the policy."""
    async with sandbox_session(attrs.evolve(FAST, attempts=3)) as (sandbox, vbc):
        seen: list[Any] = []
        vbc.subscribe(seen.append)
        await vbc.token()
        sandbox.set_outage("api", delay=float("inf"))
        with pytest.raises(Exception, match=r"0\.05 s|answer was lost") as caught:
            await CALLS[name](vbc, timeout=0.05, attempts=1)
        sandbox.end_outage("api")
        sandbox.set_outage("api", status=503)
        with pytest.raises(Exception, match="503"):
            await CALLS[name](vbc)

    first, second = [event for event in seen if isinstance(event, CallFinished)]
    assert (first.call, second.call, first.error, first.attempts) == (name, name, caught.value, 1)
    repeatable = first.outcome == "unknown" and name not in ("calls.push_batch", "numbers.publish", "numbers.delist")
    assert second.attempts == (3 if repeatable else 1)


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"timeout": "soon"}, {"attempts": 0}, {"attempts": 1.5}])
async def test_options_that_are_wrong(wrong: dict[str, Any]) -> None:
    """A wrong option is a setting that is wrong, and nothing is sent."""
    async with sandbox_session() as (sandbox, vbc):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            await vbc.calls.push(record(), **wrong)
        assert count_requests(sandbox, END) == 0


async def test_wait_for_the_pace_has_an_end_and_is_seen() -> None:
    """Calls that wait longer than `max_wait` fail with a typed error and are not sent; status and events show waits."""
    policy = APIPolicy(realtime_rate=2, realtime_window=30, max_wait=timedelta(seconds=0.05))
    async with sandbox_session(policy) as (sandbox, vbc):
        seen: list[Any] = []
        unsubscribe = vbc.subscribe(seen.append)
        await vbc.calls.push(record())
        calls = [asyncio.create_task(vbc.calls.push(record(number))) for number in range(4)]
        while vbc.status().calls_waiting < 3:
            await asyncio.sleep(0.001)
        results = await asyncio.gather(*calls, return_exceptions=True)
        errors = [error for error in results if isinstance(error, PaceExceededError)]

        assert [error.waiting for error in errors] == [3, 2, 1]
        assert isinstance(errors[0], TimeoutError)
        assert vbc.status().calls_waiting == 0
        assert count_requests(sandbox, END) == 2
        assert [event.outcome for event in seen if isinstance(event, CallFinished)] == ["ok", "ok", *["unsent"] * 3]
        unsubscribe()
        unsubscribe()
        assert vbc.on_call is None


async def test_wait_that_ends_in_time() -> None:
    """A call that gets its turn within `max_wait` is sent, and the event says how long it waited."""
    policy = APIPolicy(realtime_rate=1, realtime_window=0.05, max_wait=30)
    async with sandbox_session(policy) as (_, vbc):
        seen: list[Any] = []
        vbc.subscribe(seen.append)
        for number in range(2):
            await vbc.calls.push(record(number))

    waits = [event.pace_wait for event in seen if isinstance(event, CallFinished)]
    assert waits[0] == 0 < waits[1]


async def test_push_all_waits_as_long_as_it_takes() -> None:
    """`push_all` paces itself: `max_wait` does not end it."""
    policy = APIPolicy(batch_rate=1, batch_window=0.05, max_wait=0)
    async with sandbox_session(policy) as (_, vbc):
        records = [record(number) for number in range(1001)]
        assert [result.outcome async for result in vbc.calls.push_all(records)] == ["acknowledged"] * 3
        with pytest.raises(PaceExceededError):
            await vbc.calls.push_batch(records[:1])


async def test_listener_that_raises_and_cancelled_call(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a listener is only logged, and a cancelled call is an event as well."""
    async with sandbox_session() as (sandbox, vbc):
        seen: list[Any] = []
        vbc.subscribe(lambda _: 1 / 0)
        vbc.subscribe(seen.append)
        sandbox.fail_next("calls", delay=float("inf"))
        call = asyncio.create_task(vbc.calls.push(record()))
        while not sandbox.log:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.wait([call])

    assert [event.outcome for event in seen if isinstance(event, CallFinished)] == ["cancelled"]
    assert "on_event raised" in caplog.text
