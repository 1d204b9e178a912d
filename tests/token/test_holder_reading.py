"""Reading: fresh, stale, expired; one attempt for everybody, for a failure as for a token."""

from __future__ import annotations

import asyncio
import contextvars
from datetime import timedelta

import attrs
import pytest

from truecaller_vbc import (
    AccessToken,
    MintQuotaExhaustedError,
    SessionClosedError,
    TokenEndpointError,
    TokenError,
    TokenPolicy,
)

from .virtual_time import EPOCH, run_virtual
from .world import world


def test_thousand_callers_share_one_mint() -> None:
    """All callers without a token wait for one attempt, and get the same token."""

    async def main() -> None:
        async with world() as it:
            tokens = await asyncio.gather(*(it.holder.token() for _ in range(1000)))

            assert it.server.mints == 1
            assert {tokens[0]} == set(tokens)

    run_virtual(main())


def test_thousand_callers_share_one_failure() -> None:
    """A failure is a result, too: one attempt, and each caller gets an exception of its own."""

    async def main() -> None:
        async with world() as it:
            it.server.mood = "503"
            errors = await asyncio.gather(*(it.holder.token() for _ in range(1000)), return_exceptions=True)

            assert it.server.calls == 1
            assert {TokenEndpointError} == {type(error) for error in errors}
            assert len({id(error) for error in errors}) == 1000
            assert len({id(error.__cause__) for error in errors if isinstance(error, Exception)}) == 1
            looked_at = it.holder.status().last_error, it.holder.status().last_error
            assert looked_at[0] is not looked_at[1]
            assert looked_at[0] not in [error.__cause__ for error in errors if isinstance(error, Exception)]

    run_virtual(main())


def test_failure_is_given_at_once_until_its_time() -> None:
    """Before `retry_at` nobody touches the network; after it the next caller does."""

    async def main() -> None:
        async with world() as it:
            it.server.moods = ["503"]
            with pytest.raises(TokenEndpointError) as first:
                await it.holder.token()
            assert first.value.retry_at is not None
            wait = first.value.retry_at.timestamp() - it.clock.wall()
            assert 0.7 < wait < 1.3

            for _ in range(5):
                with pytest.raises(TokenEndpointError) as again:
                    await it.holder.token()
                assert first.value.retry_at == again.value.retry_at
            assert it.server.calls == 1

            await asyncio.sleep(wait + 0.001)
            await it.holder.token()
            assert it.server.calls == 2

    run_virtual(main())


def test_backoff_doubles_up_to_its_limit_and_starts_anew() -> None:
    """1, 2, 4 ... 60 s, each spread by a fifth, and 1 s again after a success."""

    async def main() -> None:
        async with world() as it:
            it.server.mood = "503"
            waits = []
            for _ in range(9):
                with pytest.raises(TokenEndpointError) as caught:
                    await it.holder.token()
                assert caught.value.retry_at is not None
                waits.append(caught.value.retry_at.timestamp() - it.clock.wall())
                await asyncio.sleep(waits[-1] + 0.01)
            for wait, base in zip(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
                assert 0.79 * base < wait < 1.21 * base

            it.server.mood = "ok"
            await it.holder.token()
            it.server.mood = "503"
            it.clock.suspend(3600)
            await asyncio.sleep(2)
            with pytest.raises(TokenEndpointError) as caught:
                await it.holder.token()
            assert caught.value.retry_at is not None
            assert caught.value.retry_at.timestamp() - it.clock.wall() < 1.3

    run_virtual(main())


def test_retry_after_of_the_endpoint_is_the_wait() -> None:
    """`Retry-After` goes before our own backoff, up to the length of the window."""

    async def main() -> None:
        async with world() as it:
            for asked, given in ((90.0, 90.0), (1e9, 1800.0)):
                it.server.mood, it.server.retry_after = "503", asked
                with pytest.raises(TokenEndpointError) as caught:
                    await it.holder.token()
                assert caught.value.retry_at is not None
                assert pytest.approx(given) == caught.value.retry_at.timestamp() - it.clock.wall()
                await asyncio.sleep(given + 1)

    run_virtual(main())


@pytest.mark.parametrize("leaving", [1, 50, 100])
def test_cancelled_waiters_lose_no_mint(leaving: int) -> None:
    """Cancelling any or all of the waiters neither stops the attempt nor loses its token."""

    async def main() -> None:
        async with world() as it:
            waiters = [asyncio.create_task(it.holder.token()) for _ in range(100)]
            await asyncio.sleep(0.01)
            for waiter in waiters[:leaving]:
                waiter.cancel()
            results = await asyncio.gather(*waiters, return_exceptions=True)
            assert leaving == sum(isinstance(r, asyncio.CancelledError) for r in results)
            assert 100 - leaving == sum(isinstance(r, AccessToken) for r in results)

            await asyncio.sleep(1)
            await it.holder.token()
            assert it.server.mints == 1

    run_virtual(main())


def test_abandoned_failure_is_remembered_and_silent() -> None:
    """When all waiters have gone, a failing attempt warns nobody and still is a failure for the next caller."""

    async def main() -> None:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with world() as it:
            it.server.mood = "503"
            waiter = asyncio.create_task(it.holder.token())
            await asyncio.sleep(0.01)
            waiter.cancel()
            await asyncio.sleep(0.1)
            with pytest.raises(TokenEndpointError):
                await it.holder.token()
            assert it.server.calls == 1
        assert problems == []

    run_virtual(main())


def test_attempt_does_not_inherit_a_callers_context() -> None:
    """The first request's context variables do not live on in a task that outlives it."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen = []

    async def main() -> None:
        async with world() as it:
            mint = it.server.mint

            async def watched(http: object, credentials: object) -> object:
                seen.append(variable.get())
                return await mint(http, credentials)  # type: ignore[arg-type]

            it.server.mint = watched  # type: ignore[method-assign,assignment]
            variable.set("request 1")
            await it.holder.token()
        assert seen == ["none"]

    run_virtual(main())


def test_fresh_token_starts_no_task_and_waits_for_nothing() -> None:
    """While a token is usable, `token()` ends without ever suspending."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            for age in (0, 1000, 2800, 3580):  # fresh and stale
                it.server.mood = "hung"
                it.clock.suspend(age - it.clock.slept)
                tasks = asyncio.all_tasks()
                with pytest.raises(StopIteration) as done:
                    it.holder.token().send(None)
                assert isinstance(done.value.value, AccessToken)
                assert tasks == asyncio.all_tasks()

    run_virtual(main())


def test_states_by_age() -> None:
    """Empty, fresh until the soft point, stale until the margin, then expired."""

    async def main() -> None:
        policy = attrs.evolve(TokenPolicy(), refresh_jitter=timedelta(0))
        async with world(policy=policy) as it:
            assert it.holder.status().state == "empty"
            await it.holder.token()
            it.server.mood = "refused"
            states = []
            for age in (2699, 2701, 3589, 3591):
                it.clock.suspend(age - it.clock.now())
                states.append((it.holder.status().state, it.current() is not None))
            assert states == [("fresh", True), ("stale", True), ("stale", True), ("expired", False)]

    run_virtual(main())


def test_soft_point_is_drawn_once_within_the_jitter() -> None:
    """`lifetime - refresh_ahead - uniform(0, refresh_jitter)`, counted from the sending."""

    async def main() -> None:
        drawn = set()
        for seed in range(30):
            async with world(seed=seed) as it:
                start = it.clock.wall()
                await it.holder.token()
                due = it.holder.status().next_refresh_at
                assert due is not None
                assert it.holder.status().next_refresh_at == due
                drawn.add(due.timestamp() - start)
        assert len(drawn) == 30
        assert 2400 <= min(drawn) < 2500
        assert 2600 < max(drawn) <= 2700

    run_virtual(main())


def test_life_counts_from_the_sending() -> None:
    """A slow answer does not make a token younger: the anchor is the sending."""

    async def main() -> None:
        async with world() as it:
            it.server.latency = 14.0
            token = await it.holder.token()

            assert pytest.approx(EPOCH + 3600) == token.expires_at.timestamp()

    run_virtual(main())


def test_suspended_machine_wakes_up_to_an_expired_token() -> None:
    """The clock that decides counts suspend: an hour asleep ends a token, whatever the loop's clock says."""

    async def main() -> None:
        async with world() as it:
            first = await it.holder.token()
            it.clock.suspend(3600)
            assert it.current() is None
            await asyncio.sleep(1.01)  # the longest that a fresh token is believed without a look at the clock

            assert it.holder.fast_token is None
            assert first != await it.holder.token()
            assert it.server.mints == 2

    run_virtual(main())


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
def test_stepped_wall_clock_changes_nothing(step: float) -> None:
    """In one process nobody's setting of the wall clock ends a token or frees a mint."""

    async def main() -> None:
        async with world() as it:
            first = await it.holder.token()
            it.clock.step(step)
            await asyncio.sleep(60)
            assert first == await it.holder.token()
            assert it.holder.status().mints_in_window == 1

    run_virtual(main())


def test_expired_is_one_attempt_for_everybody_again() -> None:
    """After its end a token is minted anew once, however many ask."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            it.clock.suspend(4000)
            await asyncio.sleep(2)
            await asyncio.gather(*(it.holder.token() for _ in range(100)))
            assert it.server.mints == 2

    run_virtual(main())


def test_close_in_mid_mint_tells_the_waiters() -> None:
    """Those who wait when the session is closed get `SessionClosedError`, and so do those who come later."""

    async def main() -> None:
        async with world() as it:
            it.server.mood = "hung"
            waiters = [asyncio.create_task(it.holder.token()) for _ in range(3)]
            await asyncio.sleep(1)
            await it.holder.close()
            results = await asyncio.gather(*waiters, return_exceptions=True)
            assert [SessionClosedError] * 3 == [type(result) for result in results]
            with pytest.raises(SessionClosedError):
                await it.holder.token()
            assert it.current() is None

    run_virtual(main())


def test_quota_spent_means_no_network_until_one_is_free() -> None:
    """After 10 mints the eleventh is not even tried before the oldest has left the window."""

    async def main() -> None:
        async with world() as it:
            it.server.mood = "lost"
            for _ in range(10):
                with pytest.raises(TokenEndpointError):
                    await it.holder.token()
                await asyncio.sleep(80)
            assert it.server.calls == 10

            first_answered = it.server.arrivals[0] + it.server.latency / 2
            with pytest.raises(MintQuotaExhaustedError) as caught:
                await it.holder.token()
            assert caught.value.retry_at is not None
            assert pytest.approx(EPOCH + first_answered + 1800, abs=0.01) == caught.value.retry_at.timestamp()
            while it.clock.now() < first_answered + 1800:
                with pytest.raises(TokenError):
                    await it.holder.token()
                await asyncio.sleep(7)
            assert it.server.calls == 10

            it.server.mood = "ok"
            await asyncio.sleep(70)
            await it.holder.token()
            assert it.server.calls == 11
            assert it.server.refused_for_quota == 0

    run_virtual(main())


def test_server_says_full_without_saying_how_long() -> None:
    """A 429 without `Retry-After` closes the window until something has left it, whatever we counted."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            minted = it.clock.now()
            it.clock.suspend(900)
            await asyncio.sleep(2)
            it.server.mood = "429"
            it.server.revoke_all()
            held = it.current()
            assert held is not None
            assert it.holder.rejected(held)
            with pytest.raises(MintQuotaExhaustedError) as caught:
                await it.holder.replacement(held)
            assert it.holder.status().mints_left == 0
            assert caught.value.retry_at is not None
            assert pytest.approx(EPOCH + minted + 1800, abs=1) == caught.value.retry_at.timestamp()

    run_virtual(main())


def test_token_that_the_server_ended_is_a_failure_that_counts() -> None:
    """A token that has already ended by the server's own account is no token, and no reason to loop."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            it.clock.suspend(3700)
            await asyncio.sleep(2)
            it.server.mood = "same"
            with pytest.raises(TokenEndpointError, match="already ended"):
                await it.holder.token()
            assert it.holder.status().mints_in_window == 1

    run_virtual(main())


@pytest.mark.parametrize(
    ("margin", "most"), [(timedelta(milliseconds=10), 0.002), (timedelta(seconds=10), 1), (timedelta(minutes=14), 1)]
)
def test_fast_path_ends_long_before_the_token(margin: timedelta, most: float) -> None:
    """What is read without a look at the clock is so for a second at most, and for a tenth of the margin."""

    async def main() -> None:
        async with world(policy=attrs.evolve(TokenPolicy(), expiry_margin=margin)) as it:
            await it.holder.token()
            held = it.holder.state.current
            assert held is not None
            it.clock.suspend(held.refresh_after - it.clock.now() - most / 2)
            await it.holder.token()
            assert it.holder.fast_token is held.token
            await asyncio.sleep(most)
            assert it.holder.fast_token is None

    run_virtual(main())
