"""Tests of servers whose clock makes new tokens look old."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from truecaller_vbc.token.endpoint import Answer, MintResult
from truecaller_vbc.token.ledger import Outcome

from .virtual_time import run_virtual
from .world import World, world

HOURS = 4
MINUTE = 60.0


def _state_ages(it: World, age: Callable[[int], float]) -> None:
    """Let the server make new tokens, and state this age of each, which is wrong."""

    def make(mood: str) -> Answer:
        now = it.clock.now()
        it.server.arrivals.append(now)
        stated = age(it.server.mints)
        created_at = datetime.fromtimestamp(max(0.0, now - stated), UTC)
        return Answer(Outcome.MINTED, MintResult(next(it.server._names), created_at, stated))

    it.server._make = make  # type: ignore[method-assign]


async def _mints(age: Callable[[int], float]) -> int:
    """Return the mints of a session that is in use for four hours; every caller gets a token."""
    async with world() as it:
        _state_ages(it, age)
        while it.clock.now() < HOURS * 3600:
            await it.holder.token()
            await asyncio.sleep(10)
        assert it.server.most_in_any_window() <= 3
        return it.server.mints


@pytest.mark.parametrize("minutes", [1, 2, 5, 10, 20, 30, 38, 39.9, 41, 46, 55, 59, 61, 600])
def test_wrong_clock_costs_at_most_one_mint(minutes: float) -> None:
    """A clock that is wrong by any time brings at most one mint forward."""
    plan = run_virtual(_mints(lambda number: 0.0))
    assert run_virtual(_mints(lambda number: minutes * MINUTE)) <= plan + 1


@pytest.mark.parametrize(
    ("first", "second"), [(0, 50), (0, 30), (59, 57), (50, 0), (55, 41)], ids=lambda minutes: f"{minutes} min"
)
def test_two_servers_with_clocks_of_their_own(first: float, second: float) -> None:
    """Two servers that answer in turn and disagree about the time cost at most two mints more, one for each."""
    plan = run_virtual(_mints(lambda number: 0.0))
    assert run_virtual(_mints(lambda number: MINUTE * (first if number % 2 else second))) <= plan + 2


@pytest.mark.parametrize("most", [45, 59])
def test_ages_at_random(most: float) -> None:
    """Ages at random cost a few mints in four hours, and no caller is without a token."""
    assert run_virtual(_mints(lambda number: random.uniform(33, most) * MINUTE)) <= 10


@pytest.mark.parametrize("second", ["a", "b"])
def test_ages_are_believed_again_after_a_token_that_comes_twice(second: str) -> None:
    """After an age that was ignored, another is believed only if the server has shown that it returns tokens twice."""

    async def main() -> None:
        async with world() as it:
            given = {1: ("a", 61.0), 2: (second, 0.0), 3: ("c", 1.5)}

            def make(mood: str) -> Answer:
                it.server.arrivals.append(it.clock.now())
                value, age = given[it.server.mints]
                return Answer(Outcome.MINTED, MintResult(value, datetime.fromtimestamp(1e9, UTC), age * MINUTE))

            it.server._make = make  # type: ignore[method-assign]
            while it.server.mints < 3:
                await it.holder.token()
                await asyncio.sleep(10)
            expires_at = it.holder.status().expires_at
            assert expires_at is not None
            left = expires_at.timestamp() - it.clock.wall()
            assert left == pytest.approx((58.5 if second == "a" else 60) * MINUTE, abs=20)

    run_virtual(main())
