"""Test what a pool makes of rejected tokens: one token at a time, all revoked, or one that has ended."""

from __future__ import annotations

import asyncio
import json

import pytest

from truecaller_vbc import TokenPolicy

from .pools import THREE, grow, pair, send, values
from .virtual_time import run_virtual
from .world import World, world

SEVEN = TokenPolicy(tokens=7)


def _revoke(it: World, *names: str) -> None:
    for name in names:
        it.server.made[name].live = False


def test_server_that_ends_older_tokens() -> None:
    """The first rejection of an older token gives the pool up, without a mint, once in a day."""

    async def main() -> None:
        async with world(policy=SEVEN) as it:
            it.server.revoke_previous = True
            first = await it.holder.token()
            await grow(it)
            assert it.server.mints == 2
            assert await send(it, first) == 200
            assert values(it.holder) == ["token-000002"]
            assert it.kinds() == ["TokenMinted", "TokenMinted", "PoolEnded"]
            for _ in range(23 * 60):
                await asyncio.sleep(60)
                await grow(it)
                assert await send(it, await it.holder.token()) == 200
            assert it.kinds().count("PoolEnded") == 1
            assert it.server.mints <= 2 + 24 * 60 / 40
            mints = it.server.mints
            for _ in range(2 * 60):
                await asyncio.sleep(60)
                await grow(it)
            assert it.kinds().count("PoolEnded") == 2
            assert it.server.mints <= mints + 1 + 2 * 60 / 40

    run_virtual(main())


def test_late_rejections_change_nothing_more() -> None:
    """All requests in flight with the older token are sent again, with one event."""

    async def main() -> None:
        async with world(policy=SEVEN) as it:
            it.server.revoke_previous = True
            first = await it.holder.token()
            it.holder.grow()
            await asyncio.sleep(1)
            assert await asyncio.gather(*(send(it, first) for _ in range(6))) == [200] * 6
            assert (it.kinds().count("PoolEnded"), it.server.mints) == (1, 2)

    run_virtual(main())


@pytest.mark.parametrize("seconds", [1, 60], ids=["just after a mint", "later"])
@pytest.mark.parametrize("order", [1, -1], ids=["newest first", "oldest first"])
def test_all_tokens_revoked(order: int, seconds: float) -> None:
    """One mint replaces them all, whichever is sent first, and the pool grows again."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            await grow(it, 2)
            assert await send(it, it.holder.live_tokens()[1]) == 200
            await asyncio.sleep(seconds)
            tokens = it.holder.live_tokens()[::order]
            assert len(tokens) == 3
            it.server.revoke_all()
            assert await asyncio.gather(*(send(it, token) for token in (*tokens, *tokens))) == [200] * 6
            assert it.server.mints == 4
            assert values(it.holder) == ["token-000004"]
            assert await send(it, await it.holder.token()) == 200
            await grow(it, 2)
            assert [await send(it, token) for token in it.holder.live_tokens()] == [200] * 3
            assert [kind for kind in it.kinds() if kind != "TokenRejected"] == ["TokenMinted"] * 6

    run_virtual(main())


def test_current_token_that_was_replaced_first() -> None:
    """Older tokens that are found dead after the current one was replaced are no sign."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            await grow(it, 2)
            await asyncio.sleep(60)
            newest, *older = it.holder.live_tokens()
            it.server.revoke_all()
            assert await send(it, newest) == 200
            for token in older:
                assert await send(it, token) == 200
            assert values(it.holder) == ["token-000004"]
            assert "PoolEnded" not in it.kinds()
            assert it.server.mints == 4

    run_virtual(main())


@pytest.mark.parametrize("seconds", [10, 600, 2_500], ids=["too new", "later", "near the end of the older ones"])
def test_all_tokens_revoked_again(seconds: float) -> None:
    """An older token from before the first revocation says nothing about the replacement, which is replaced as well."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            await grow(it, 2)
            await asyncio.sleep(60)
            older = it.holder.live_tokens()[1]
            it.server.revoke_all()
            assert await send(it, await it.holder.token()) == 200
            await asyncio.sleep(seconds)
            it.server.revoke_all()
            assert await send(it, older) == (401 if seconds < 30 else 200)
            await asyncio.sleep(30)
            assert await send(it, await it.holder.token()) == 200
            assert it.server.mints == 5
            assert "PoolEnded" not in it.kinds()

    run_virtual(main())


def test_all_tokens_revoked_as_the_older_ones_near_their_end() -> None:
    """A request that was sent with a token near its end is sent with the replacement of the current one."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            first = await it.holder.token()
            await asyncio.sleep(1_500)
            await grow(it, 2)
            await asyncio.sleep(1_000)
            it.server.revoke_all()
            assert await send(it, first) == 200
            assert (it.server.mints, it.kinds().count("PoolEnded")) == (4, 0)

    run_virtual(main())


def test_older_tokens_outlive_a_current_one_that_was_revoked() -> None:
    """If only the current token is revoked, the older ones go on."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            await grow(it, 2)
            await asyncio.sleep(60)
            _revoke(it, "token-000003")
            assert await send(it, await it.holder.token()) == 200
            assert values(it.holder) == ["token-000004", "token-000002", "token-000001"]

    run_virtual(main())


def test_new_token_that_the_api_does_not_know_yet() -> None:
    """Before it is proven that tokens live side by side, a token that is rejected soon after its mint is kept."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            first = await it.holder.token()
            it.holder.grow()
            await asyncio.sleep(1)
            _revoke(it, "token-000001", "token-000002")
            assert await send(it, first) == 401
            assert await send(it, await it.holder.token()) == 401
            assert it.server.mints == 2
            it.server.made["token-000002"].live = True
            # The older token is asked about again, which shows that the new one has ended it.
            assert it.holder.unproven() is first
            assert await send(it, first) == 200
            assert it.kinds()[-1] == "PoolEnded"

    run_virtual(main())


def test_young_token_is_sent_with_the_one_before() -> None:
    """While the API does not know a new token yet, requests go on with an older one, and nothing is replaced."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            await grow(it, 2)
            young = it.holder.live_tokens()[0]
            _revoke(it, young.value)
            assert await send(it, young) == 200
            it.server.made[young.value].live = True
            assert len(it.holder.live_tokens()) == 3
            assert it.server.mints == 3

    run_virtual(main())


def test_older_token_that_was_revoked_alone() -> None:
    """In a pool that is proven, the first rejection beside a good token asks for a new proof, and the next decides."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            await grow(it, 2)
            older = it.holder.live_tokens()[1]
            _revoke(it, older.value)
            assert await send(it, older) == 200
            assert values(it.holder) == ["token-000003"]
            assert "PoolEnded" not in it.kinds()
            await grow(it, 2)
            assert len(values(it.holder)) == 3
            # The same, where new tokens have begun to end the ones before.
            it.server.revoke_previous = True
            await asyncio.sleep(1_900)
            _revoke(it, *values(it.holder)[1:])
            for _ in range(5):
                await grow(it)
            assert it.kinds().count("PoolEnded") == 1
            assert len(values(it.holder)) == 1
            assert it.server.mints == 6

    run_virtual(main())


def test_route_that_refuses_every_token() -> None:
    """It costs one mint in an hour, and the older tokens go on to be used for other requests."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            await grow(it, 2)
            await asyncio.sleep(60)
            for token in it.holder.live_tokens()[:0:-1]:
                for _ in range(10):
                    assert await send(it, token, route=401) == 401
                    assert await send(it, await it.holder.token(), route=401) == 401
            assert it.server.mints == 4
            assert it.holder.state.rejections.futile == 1
            assert values(it.holder) == ["token-000004", "token-000002", "token-000001"]
            for token in it.holder.live_tokens():
                assert await send(it, token) == 200
            assert "PoolEnded" not in it.kinds()

    run_virtual(main())


@pytest.mark.parametrize("seconds", [1, 60])
@pytest.mark.parametrize("which", [0, 1, -1])
def test_route_that_refuses_every_token_for_long(which: int, seconds: float) -> None:
    """It costs one mint beside the refresh, whichever token is sent first, while other routes work."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            await grow(it, 2)
            await asyncio.sleep(seconds)
            for _ in range(600):
                tokens = it.holder.live_tokens()
                await send(it, tokens[which if len(tokens) > abs(which) else 0], route=401)
                assert [await send(it, token) for token in it.holder.live_tokens()] == [200] * len(tokens)
                await asyncio.sleep(5)
            assert it.server.mints == 5
            assert "PoolEnded" not in it.kinds()

    run_virtual(main())


def test_token_near_its_end() -> None:
    """An older token that has become stale may be rejected without consequences for the others."""

    async def main() -> None:
        async with world(policy=TokenPolicy(tokens=2)) as it:
            first = await it.holder.token()
            await asyncio.sleep(1_500)
            await grow(it)
            await asyncio.sleep(1_800)
            _revoke(it, first.value)
            assert await send(it, first) == 200
            assert values(it.holder) == ["token-000002"]
            assert "PoolEnded" not in it.kinds()
            await grow(it)
            assert len(values(it.holder)) == 2

    run_virtual(main())


def test_rejections_during_a_mint_wait_for_its_token() -> None:
    """Where a new token ends the others, all of them are dead between the grant and its answer."""

    async def main() -> None:
        async with world(policy=SEVEN) as it:
            first = await it.holder.token()
            it.server.revoke_previous, it.server.latency = True, 4.0
            it.holder.grow()
            await asyncio.sleep(3)
            assert it.server.mints == 2
            assert await asyncio.gather(*(send(it, first) for _ in range(3))) == [200] * 3
            assert it.kinds() == ["TokenMinted", "TokenMinted", "PoolEnded"]

    run_virtual(main())


@pytest.mark.parametrize("proven", [True, False])
def test_replay_without_an_answer(proven: bool) -> None:
    """A replay that says nothing of its token judges nothing; the pool does not grow for a while."""

    async def main() -> None:
        async with world(policy=THREE) as it:
            await it.holder.token()
            await grow(it)
            newest, older = it.holder.live_tokens()
            if proven:
                assert await send(it, older) == 200
            _revoke(it, older.value)
            assert await it.holder.rejected(older)
            it.holder.replacement_accepted(newest, older)  # of another request: it says nothing
            assert values(it.holder) == [newest.value]
            it.holder.grow()
            await asyncio.sleep(10)
            assert it.server.mints == 2
            await asyncio.sleep(10)
            it.holder.grow()
            await asyncio.sleep(1)
            assert it.server.mints == (3 if proven else 2)
            if not proven:
                assert it.holder.unproven() is older
            assert "PoolEnded" not in it.kinds()

    run_virtual(main())


def test_processes_learn_that_there_is_one_token() -> None:
    """The store tells other processes, until the day is over."""

    async def main() -> None:
        async with pair() as (one, two):
            one.server.revoke_previous = True
            first = await one.holder.token()
            await two.holder.token()
            await grow(one)
            assert await send(one, first) == 200
            await asyncio.sleep(1)
            await grow(two)
            for it in (one, two):
                assert values(it.holder) == ["token-000002"]
                await grow(it, 3)
            assert one.server.mints == 2
            assert ("PoolEnded" in one.kinds(), "PoolEnded" in two.kinds()) == (True, False)
            for pool in (one.holder.state.pool, two.holder.state.pool):
                assert pool is not None
                assert pool.single_until - one.clock.now() == pytest.approx(86_400, abs=60)
            await asyncio.sleep(86_400)
            await two.holder.token()
            mints = one.server.mints
            await grow(two)
            assert one.server.mints == mints + 1

    run_virtual(main())


def test_processes_learn_that_all_were_revoked() -> None:
    """A process that adopts the replacement of a dead token forgets the older ones, which are no sign."""

    async def main() -> None:
        async with pair() as (one, two):
            await one.holder.token()
            await two.holder.token()
            await grow(one, 2)
            await grow(two, 2)
            assert values(one.holder) == values(two.holder)
            await asyncio.sleep(60)
            tokens = two.holder.live_tokens()
            one.server.revoke_all()
            assert await send(one, one.holder.live_tokens()[0]) == 200
            await two.refresh()
            assert values(two.holder) == ["token-000004"]
            for token in tokens:
                assert await send(two, token) == 200
            third = World(policy=THREE, store=two.holder._minter._store._store, server=one.server)  # type: ignore[union-attr]
            third.holder.open(None)
            await third.holder.token()
            for it in (two, third):
                assert values(it.holder) == ["token-000004"]
                assert "PoolEnded" not in it.kinds()
            assert one.server.mints == 4
            await third.holder.close()

    run_virtual(main())


def test_process_of_one_token_leaves_out_what_may_have_been_revoked() -> None:
    """A process without a pool that replaces a rejected token does not store the older ones again."""

    async def main() -> None:
        async with pair() as (one, two):
            await one.holder.token()
            await grow(one)
            plain = World(store=two.holder._minter._store._store, server=one.server)  # type: ignore[union-attr]
            plain.holder.open(None)
            token = await plain.holder.token()
            await asyncio.sleep(60)
            one.server.revoke_all()
            assert await send(plain, token) == 200
            await two.holder.token()
            assert values(two.holder) == ["token-000003"]
            await plain.holder.close()

    run_virtual(main())


def test_stored_end_that_cannot_be_true() -> None:
    """A store that gives the pool up for a month is not believed, and is put right."""

    async def main() -> None:
        async with pair() as (one, two):
            await one.holder.token()
            await asyncio.sleep(1)
            minter = one.holder._minter
            store, key = minter._store._store, minter._key  # type: ignore[union-attr]
            document = json.loads(await store.read(key) or "")
            [state] = document["keys"].values()
            state["single_until"] = document["written_at"] + 30 * 86_400
            document["revision"] += 1
            assert await store.write(key, json.dumps(document))
            await two.holder.token()
            await grow(two)
            assert one.server.mints == 2
            [state] = json.loads(await store.read(key) or "")["keys"].values()
            assert state["single_until"] is None

    run_virtual(main())
