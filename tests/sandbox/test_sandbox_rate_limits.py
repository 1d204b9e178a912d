"""Rate limits: per token, with a sliding window on the sandbox's clock."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc.sandbox.middlewares import RequestRate

from .sandbox_account import Client, account, call_record, plus_record
from .sandbox_wire import ManualClock


async def calls(client: Client, count: int) -> list[int]:
    return [(await client.call(call_record())).status for _ in range(count)]


async def batches(client: Client, count: int, version: str = "/v3") -> list[int]:
    return [(await client.batch(plus_record(), version=version)).status for _ in range(count)]


async def test_real_time_limit() -> None:
    """100 real-time calls are allowed in any second, for each token."""
    clock = ManualClock()
    async with account(clock=clock) as client:
        assert await calls(client, 60) == [200] * 60
        clock.now += 0.75
        assert await calls(client, 41) == [200] * 40 + [429]
        clock.now += 0.25
        assert await calls(client, 61) == [200] * 60 + [429]

        client.token = await client.wire.token()
        assert await calls(client, 1) == [200]
        assert client.sandbox.accepted.total() == 161


async def test_batch_limit() -> None:
    """60 batches are allowed in any minute, both versions together."""
    clock = ManualClock()
    async with account(clock=clock) as client:
        assert await batches(client, 30) == [200] * 30
        clock.now += 45.0
        assert await batches(client, 31, "/v2") == [200] * 30 + [429]
        clock.now += 15.0
        assert await batches(client, 31) == [200] * 30 + [429]
        assert len(client.sandbox.batches) == 90


async def test_no_limit() -> None:
    """None removes a limit."""
    async with account(clock=ManualClock(), realtime_per_second=None, batch_per_minute=None) as client:
        assert await calls(client, 101) == [200] * 101
        assert await batches(client, 61) == [200] * 61


async def test_limits_are_separate() -> None:
    """Real-time calls, batches, statuses and lists do not count against each other's limits."""
    async with account(clock=ManualClock(), realtime_per_second=1, batch_per_minute=1) as client:
        assert [*await calls(client, 2), *await batches(client, 2)] == [200, 429, 200, 429]
        for _ in range(3):
            assert (await client.status(next(iter(client.sandbox.batches)))).status == 200
            assert (await client.numbers()).status == 200


async def test_invalid_request_takes_a_place() -> None:
    """An invalid request counts, and a refused one does not."""
    async with account(clock=ManualClock(), realtime_per_second=1) as client:
        assert [(await client.call({})).status, *await calls(client, 1)] == [400, 429]


@pytest.mark.parametrize(("retry_after", "header"), [(False, None), (True, "60")])
@pytest.mark.parametrize(
    ("envelope", "body"),
    [("E1", {"slug": "too-many-requests", "message": "too many requests"}), ("E5", {"message": "too many requests"})],
)
async def test_refusal(retry_after: bool, header: str | None, envelope: str, body: dict[str, Any]) -> None:
    """A refusal is a 429 in the envelope that the rules set, with Retry-After if they say so."""
    rules = {"retry_after": retry_after, "envelope": envelope}
    async with account(clock=ManualClock(), batch_per_minute=1, **rules) as client:
        await client.batch(plus_record())
        answer = await client.batch(plus_record())

        assert (answer.status, answer.headers.get("Retry-After"), answer.json) == (429, header, body)


async def test_retry_after_of_real_time_is_a_whole_second() -> None:
    """Retry-After is never 0."""
    clock = ManualClock()
    async with account(clock=clock, realtime_per_second=1, retry_after=True) as client:
        await client.call(call_record())
        clock.now += 0.75

        assert (await client.call(call_record())).headers["Retry-After"] == "1"


@given(
    asks=st.lists(st.tuples(st.integers(0, 40).map(lambda n: n / 8), st.sampled_from("ab")), max_size=60),
    limit=st.integers(1, 4),
)
def test_limit_is_a_sliding_window_for_each_token(asks: list[tuple[float, str]], limit: int) -> None:
    """A request is allowed exactly if its token made fewer than the limit within the window before it."""
    rate, now = RequestRate(limit, 3.0), 0.0
    taken: defaultdict[str, list[float]] = defaultdict(list)
    for gap, token in asks:
        now += gap
        recent = [then for then in taken[token] if then > now - 3.0]
        wait = rate.wait(token, now)
        assert wait == (0.0 if len(recent) < limit else recent[-limit] + 3.0 - now)
        if wait == 0:
            taken[token].append(now)


def test_idle_tokens_are_forgotten() -> None:
    """Tokens that are idle take no memory."""
    rate = RequestRate(5, 1.0)
    for number in range(1000):
        rate.wait(str(number), float(number))

    assert len(rate._windows) < 3
