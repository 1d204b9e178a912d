"""Thirty days of virtual time against the real sandbox, and random sequences of faults."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Literal, TypeAlias, cast

import aiohttp
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from truecaller_vbc import MemoryStore, TokenError, VBCSession
from truecaller_vbc.credentials import Credentials
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.token.endpoint import Answer, TokenEndpoint

from .virtual_time import LoopClock, VirtualLoop, run_virtual
from .world import Mood, World, world

pytestmark = pytest.mark.slow

DAYS = 30


@asynccontextmanager
async def _bytes_on_their_way() -> AsyncIterator[None]:
    loop = cast(VirtualLoop, asyncio.get_running_loop())
    loop.in_flight += 1
    try:
        yield
    finally:
        loop.in_flight -= 1


def test_thirty_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is minted every 40 to 45 minutes, every call has a token, and most of the quota stays free."""
    mint = TokenEndpoint.mint

    async def watched(
        self: TokenEndpoint, http: aiohttp.ClientSession | None, credentials: Credentials, seconds: float
    ) -> Answer:
        async with _bytes_on_their_way():
            return await mint(self, http, credentials, seconds)

    monkeypatch.setattr(TokenEndpoint, "mint", watched)

    async def main() -> None:
        random.seed(1)
        loop = asyncio.get_running_loop()
        async with (
            Sandbox() as sandbox,
            VBCSession(sandbox.credentials, base_url=sandbox.base_url, clock=LoopClock(loop.time)) as vbc,
        ):
            statuses: dict[int, int] = {}
            while loop.time() < DAYS * 86_400:
                async with _bytes_on_their_way(), vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
                    statuses[response.status] = statuses.get(response.status, 0) + 1
                await asyncio.sleep(600)
            assert statuses == {200: DAYS * 144}

            minted = [record.at for record in sandbox.log if record.path.endswith("/token")]
            gaps = [later - earlier for earlier, later in pairwise(minted)]
            assert 2399 < min(gaps) < 2410
            assert 2690 < max(gaps) < 2701
            assert sandbox.token_requests == sandbox.mints
            assert DAYS * 86_400 / 2700 <= sandbox.mints <= DAYS * 86_400 / 2400

    run_virtual(main())


Step: TypeAlias = tuple[Literal["mood", "revoke", "step", "suspend", "latency", "burst", "wait"], float | str]

_moods: st.SearchStrategy[Mood] = st.sampled_from(
    ["ok", "ok", "503", "refused", "lost", "hung", "429", "401", "same", "old", "garbage"]
)
_steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("mood"), _moods),
        st.tuples(st.just("revoke"), st.just(0.0)),
        st.tuples(st.just("step"), st.floats(-100_000, 100_000)),
        st.tuples(st.just("suspend"), st.floats(0, 10_000)),
        st.tuples(st.just("latency"), st.floats(0, 20)),
        st.tuples(st.just("burst"), st.integers(1, 20).map(float)),
        st.tuples(st.just("wait"), st.floats(0, 4000)),
    ),
    max_size=60,
)


async def _call(it: World) -> None:
    """Get a valid token as one caller does, use it, and report the answer of the API."""
    try:
        token = await it.holder.token()
    except TokenError:
        return
    minted = it.server.made[token.value]
    assert it.clock.now() < minted.at + 3600
    if minted.live:
        it.holder.accepted(token)
    elif await it.holder.rejected(token):
        try:
            await it.holder.replacement(token)
        except TokenError:
            return


async def _play(it: World, step: Step) -> None:
    action, value = step
    if action == "mood":
        it.server.mood = cast(Mood, value)
    elif action == "revoke":
        it.server.revoke_all()
    elif action == "step":
        it.clock.step(float(value))
    elif action == "suspend":
        it.clock.suspend(float(value))
        await asyncio.sleep(1.01)
    elif action == "latency":
        it.server.latency = float(value)
    elif action == "burst":
        callers = [asyncio.create_task(_call(it)) for _ in range(int(value))]
        await asyncio.sleep(0.01)
        callers[0].cancel()
        await asyncio.gather(*callers[1:])
    else:
        until = it.clock.now() + float(value)
        while it.clock.now() < until:
            await _call(it)
            await asyncio.sleep(random.uniform(1, 100))


@pytest.mark.parametrize("shared", [False, True])
@settings(
    max_examples=int(os.environ.get("TRUECALLER_VBC_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(steps=_steps, seed=st.integers(0, 1000))
@example(steps=[("mood", "503"), ("burst", 2.0), ("step", -1899.0)], seed=0)
@example(steps=[("latency", 15.0), ("wait", 904.0), ("step", -1058.0)], seed=0)
@example(steps=[("mood", "429"), ("burst", 2.0), ("step", -1899.0)], seed=0)
def test_no_fault_breaks_the_quota_or_the_holder(shared: bool, steps: list[Step], seed: int) -> None:
    """Faults never cause more than 10 mints in a window or an expired token, and the holder always recovers."""

    async def main() -> None:
        async with world(seed=seed, store=MemoryStore() if shared else None) as it:
            for step in steps:
                await _play(it, step)
            it.server.mood, it.server.latency = "ok", 0.05
            assert it.server.most_in_any_window() <= 10
            assert it.server.refused_for_quota == 0

            good = it.clock.now() + 1900
            while it.clock.now() < good:
                await _call(it)
                await asyncio.sleep(5)
            token = await it.holder.token()
            if not it.server.accepts_token(token.value):
                assert await it.holder.rejected(token)
                token = await it.holder.replacement(token)
            assert it.server.accepts_token(token.value)
            assert it.server.most_in_any_window() <= 10

    run_virtual(main())
