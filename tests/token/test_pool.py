"""Test a pool of live tokens: what it spends and what it hands out. In virtual time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from truecaller_vbc import AccessToken, ConfigurationError, Credentials, TokenPolicy
from truecaller_vbc.token.ledger import Attempt, Outcome

from .pools import THREE, grow, pair, send, values
from .virtual_time import run_virtual
from .world import CREDENTIALS, World, world


def test_pool_grows_on_demand_up_to_its_size() -> None:
    """Each further token is one mint; beyond the size nothing is asked for. The newest token is the current one."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            first = await it.holder.token()
            assert values(it.holder) == [first.value]
            for _ in range(5):
                await grow(it)
            assert it.server.mints == 3
            assert len(it.holder.live_tokens()) == 3
            newest = await it.holder.token()
            assert values(it.holder)[0] == newest.value
            assert values(it.holder)[-1] == first.value
            status = it.holder.status()
            assert [token.fingerprint for token in status.tokens] == [t.fingerprint for t in it.holder.live_tokens()]
            assert status.fingerprint == newest.fingerprint

    run_virtual(main())


def test_second_growth_waits_for_a_proof() -> None:
    """Until the API has accepted the older token beside the newer one, the pool does not grow again."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            first = await it.holder.token()
            told: list[int] = []
            for _ in range(3):
                it.holder.grow()
                await asyncio.sleep(1)
            assert it.server.mints == 2
            assert it.holder.unproven() is first
            it.holder.listeners.append(lambda: told.append(1))
            it.holder.accepted(await it.holder.token())
            it.holder.grow()
            assert (it.server.mints, told) == (2, [])
            it.holder.accepted(first, asyncio.get_running_loop().time() - 100)  # sent before there was a newer one
            assert told == []
            for _ in range(2):
                assert await send(it, first) == 200
            assert told == [1]
            assert it.holder.unproven() is None
            it.holder.grow()
            await asyncio.sleep(1)
            assert it.server.mints == 3

    run_virtual(main())


def test_without_a_pool_nothing_grows() -> None:
    """A policy of one token has one."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            await grow(it)
            assert it.holder.unproven() is None
            assert it.server.mints == 1
            assert len(it.holder.status().tokens) == 1

    run_virtual(main())


def test_older_tokens_are_not_refreshed_and_end() -> None:
    """Only the current token is refreshed; the older ones leave the pool with their life."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            await grow(it)
            await grow(it)
            it.holder.state.used = True
            await asyncio.sleep(3_000)
            assert it.server.mints == 4
            assert len(it.holder.live_tokens()) == 3  # the oldest gave way to the refreshed one
            await asyncio.sleep(700)
            assert len(it.holder.live_tokens()) == 1
            assert it.server.mints == 4

    run_virtual(main())


def test_growth_leaves_the_reserve() -> None:
    """A further token is not minted from the reserve, and the pool grows when the window allows it again."""

    async def main() -> None:
        async with world(policy=TokenPolicy(tokens=3, max_mints=5, reserve_mints=2)) as it:
            await it.holder.token()
            now = it.clock.now()
            for name in ("a", "b"):  # other processes made these
                it.holder.state.enter(Attempt(name, now, Outcome.MINTED), now)
            for _ in range(6):
                await grow(it)
            assert len(it.holder.live_tokens()) == 1
            assert it.holder.status().mints_left == 2
            await asyncio.sleep(1_801)
            await grow(it)
            assert len(it.holder.live_tokens()) == 2

    run_virtual(main())


@pytest.mark.parametrize("mood", ["503", "lost", "refused", "429"])
def test_failed_growth_disturbs_nothing(mood: Any) -> None:
    """Callers keep their tokens, the refresh stays where it was, and growth waits instead of asking in a loop."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            token = await it.holder.token()
            planned = it.holder.refresh_at()
            it.server.mood = mood
            for _ in range(10):
                await grow(it)
            assert it.server.calls == 2
            assert it.holder.refresh_at() == planned
            assert await it.holder.token() == token
            it.server.mood = "ok"
            await asyncio.sleep(1_900)
            await grow(it)
            assert len(it.holder.live_tokens()) == 2

    run_virtual(main())


def test_growth_that_the_server_puts_off_for_a_second() -> None:
    """It is asked for again after a minute all the same: callers have tokens."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            it.server.mood, it.server.retry_after = "429", 1.0
            for _ in range(47):
                await grow(it)
                await asyncio.sleep(1)
            assert it.server.calls == 2

    run_virtual(main())


def test_server_that_returns_the_same_token_again() -> None:
    """Growth that brings the same token spends one mint an hour at most."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            it.server.mood = "same"
            for _ in range(60):
                await grow(it)
                await asyncio.sleep(30)
            assert it.server.calls == 2
            assert len(it.holder.live_tokens()) == 1

    run_virtual(main())


def test_processes_use_the_same_tokens() -> None:
    """A process adopts all live tokens, and its growth first looks for what others have minted."""

    async def main() -> None:
        async with pair() as (one, two):
            await one.holder.token()
            await grow(one)
            await two.holder.token()
            assert values(two.holder) == values(one.holder)
            await grow(one)
            await grow(two)  # it finds the third token
            assert one.server.mints == 3
            assert values(two.holder) == values(one.holder)
            await grow(two)
            assert one.server.mints == 3

    run_virtual(main())


def test_processes_without_a_pool_keep_what_others_stored() -> None:
    """A process of one token writes the document with the older tokens of the others."""

    async def main() -> None:
        async with pair() as (one, two):
            await one.holder.token()
            await grow(one)
            plain = World(store=one.holder._minter._store._store, server=one.server)  # type: ignore[union-attr]
            plain.holder.open(None)
            await plain.holder.token()
            plain.holder._minter.unsaved = True
            await plain.holder.save_back()
            await plain.holder.close()
            await two.holder.token()
            assert values(two.holder) == values(one.holder)

    run_virtual(main())


def test_pool_belongs_to_its_key() -> None:
    """Older tokens are forgotten when the callable returns another key, and when it returns another account."""
    now = CREDENTIALS

    async def source() -> Credentials:
        return now

    async def main() -> None:
        nonlocal now
        async with world(policy=THREE, source=source) as it:
            for other in (Credentials("account", "key2", "secret"), Credentials("another", "key", "secret")):
                await it.holder.token()
                await grow(it)
                assert len(it.holder.live_tokens()) == 2
                now = other
                it.holder._minter._ask_again = True
                it.holder.state.drop()
                await it.holder.token()
                assert len(it.holder.live_tokens()) == 1

    run_virtual(main())


def test_closed_holder_does_not_grow() -> None:
    """After `close` nothing is minted."""

    async def main() -> None:
        it = World(policy=THREE)
        it.holder.open(None)
        await it.holder.token()
        await it.holder.close()
        it.holder.grow()
        assert it.holder._attempt is None

    run_virtual(main())


def test_pool_that_is_full_by_what_the_store_has() -> None:
    """A growth that finds older tokens of others in the store, and no newer one, mints nothing."""

    async def main() -> None:
        async with pair() as (one, two):
            await one.holder.token()
            await grow(one)
            await grow(one)
            await two.holder.token()
            pool = two.holder.state.pool
            assert pool is not None
            pool.older, pool.proven = (), True
            two.holder.grow()
            await asyncio.sleep(1)
            assert one.server.mints == 3
            assert values(two.holder) == values(one.holder)

    run_virtual(main())


def test_disowned_holder_does_not_refresh() -> None:
    """The copy of a holder in a forked process refreshes nothing."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            it.holder.disown()
            assert it.holder.fast_token is None
            it.holder.state.used = True
            await asyncio.sleep(3_500)
            assert it.server.mints == 1

    run_virtual(main())


@pytest.mark.parametrize("values", [{"tokens": 0}, {"tokens": 8}, {"tokens": True}, {"tokens": 2.0}, {"pool_wait": -1}])
def test_wrong_sizes(values: Any) -> None:
    """A pool that the quota cannot pay for is refused."""
    with pytest.raises(ConfigurationError, match=r"tokens|pool_wait"):
        TokenPolicy(**values)


def test_rejected_tokens_are_not_live() -> None:
    """An older token that was rejected is not handed out again, even if the store has it."""

    async def main() -> None:
        async with pair() as (one, two):
            first = await one.holder.token()
            await grow(one)
            await two.holder.token()
            two.holder.state.rejections.remember(first.value)
            assert first.value not in values(two.holder)
            assert isinstance(first, AccessToken)

    run_virtual(main())


def test_pool_wait_is_a_duration() -> None:
    """It is scaled with the others."""
    assert TokenPolicy().scaled(0.5).pool_wait == timedelta(seconds=1)


def test_growth_leaves_the_refreshes_of_a_window() -> None:
    """If tokens live for less than a window, growth leaves the mints that their refreshes need."""

    async def main() -> None:
        policy = TokenPolicy(tokens=6, lifetime=900, refresh_ahead=240, refresh_jitter=60)
        async with world(policy=policy) as it:  # refreshed after 10 minutes: three times in a window
            await it.holder.token()
            await grow(it, 8)
            assert it.server.mints == 10 - 3 - 3

    run_virtual(main())


def test_growth_is_asked_for_again() -> None:
    """Listeners are told when a failed growth may be tried again, with growing pauses, also in another account."""
    now = CREDENTIALS

    async def source() -> Credentials:
        return now

    async def main() -> None:
        nonlocal now
        async with world(policy=THREE, source=source) as it:
            await it.holder.token()
            it.holder.listeners.append(it.holder.grow)
            it.server.mood = "503"
            it.holder.grow()
            await asyncio.sleep(1_000)
            assert 4 <= it.server.calls <= 8
            it.server.mood = "ok"
            now = Credentials("another", "key", "secret")
            it.holder._minter._ask_again = True
            it.holder.state.drop()
            await it.holder.token()
            await asyncio.sleep(1_000)
            assert len(it.holder.live_tokens()) == 2

    run_virtual(main())


def test_growth_of_two_processes_at_once() -> None:
    """One of them mints; the other takes its token a moment later, and asks once in a while if it was lost."""

    async def main() -> None:
        async with pair() as (one, two):
            await one.holder.token()
            await two.holder.token()
            for it in (one, two):
                it.holder.listeners.append(it.holder.grow)
                it.holder.grow()
            await asyncio.sleep(2)
            assert one.server.mints == 2
            assert values(two.holder) == values(one.holder)
            await send(one, one.holder.live_tokens()[1])
            await send(two, two.holder.live_tokens()[1])
            one.server.mood = "lost"
            await asyncio.sleep(600)
            assert one.server.mints <= 6

    run_virtual(main())
