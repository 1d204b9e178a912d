"""The background task: soft point, backoff, dormancy, and that it cannot die."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import attrs
import pytest

from truecaller_vbc import CredentialsRejectedError, RefreshFailed, TokenError, TokenPolicy
from truecaller_vbc.token import refresher as refresher_module

from .virtual_time import run_virtual
from .world import World, world


async def _ask_until(it: World, until: float, every: float = 20.0) -> int:
    """Callers ask every now and then; returns how many got no token."""
    failures = 0
    while it.clock.now() < until:
        try:
            token = await it.holder.token()
        except TokenError:
            failures += 1
        else:
            failures += not it.server.accepts_token(token.value)
        await asyncio.sleep(every)
    return failures


def test_token_in_use_is_refreshed_at_its_soft_point() -> None:
    """The background mints the next token between 40 and 45 minutes, and no caller waits for it."""

    async def main() -> None:
        async with world() as it:
            first = await it.holder.token()
            await asyncio.sleep(2300)
            assert first == await it.holder.token()
            await asyncio.sleep(410)
            assert it.server.mints == 2
            assert 2400 < it.server.arrivals[1] < 2710
            assert first != it.current()

    run_virtual(main())


def test_callers_do_not_wait_for_a_refresh() -> None:
    """While the refresh hangs, callers get the stale token at once."""

    async def main() -> None:
        async with world() as it:
            first = await it.holder.token()
            it.server.latency = 14.0
            await asyncio.sleep(it.holder.refresh_at() - it.clock.now() + 1)
            assert it.server.calls == 2
            before = it.clock.now()
            assert first == await it.holder.token()
            assert before == it.clock.now()

    run_virtual(main())


def test_idle_process_spends_no_mints() -> None:
    """Nobody asked since the last refresh: the background goes dormant, and the next call wakes it."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            await asyncio.sleep(30 * 86_400)
            assert it.server.mints == 2
            assert it.holder.status().next_refresh_at is None

            await it.holder.token()
            assert it.server.mints == 3
            assert await _ask_until(it, it.clock.now() + 7200) == 0
            assert 5 <= it.server.mints <= 6

    run_virtual(main())


def test_dormant_background_is_woken_by_a_stale_read() -> None:
    """A caller who is served a stale token sets off the refresh that nobody had asked for."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            await asyncio.sleep(2800)  # refreshed once, for the first caller
            held = it.holder.state.current
            assert held is not None
            await asyncio.sleep(2750)  # dormant at the second soft point, the token is still good
            assert it.server.mints == 2
            assert it.holder.status().state == "stale"

            assert held.token == await it.holder.token()
            await asyncio.sleep(1)
            assert it.server.mints == 3
            assert it.holder.status().state == "fresh"

    run_virtual(main())


def test_failed_refresh_backs_off_and_serves_on() -> None:
    """About 1, 2, 4 and 8 minutes between attempts as long as the token lives; callers notice nothing."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            it.server.mood = "503"
            assert await _ask_until(it, 3580) == 0
            waits = [
                event.next_refresh_at.timestamp() - it.clock.wall() + it.clock.now()
                for event in it.events
                if isinstance(event, RefreshFailed) and event.next_refresh_at is not None
            ]
            gaps = [later - earlier for earlier, later in pairwise(waits)]
            for gap, base in zip(gaps, [120, 240, 480], strict=False):
                assert 0.79 * base < gap < 1.21 * base
            assert 4 <= it.server.calls <= 6

    run_virtual(main())


def test_refresh_waits_for_retry_after() -> None:
    """The background waits for the later of its own backoff and what the endpoint asked for."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            it.server.mood, it.server.retry_after = "503", 400.0
            assert await _ask_until(it, 3000) == 0
            assert 2 <= it.server.calls <= 3
            failed = [event for event in it.events if isinstance(event, RefreshFailed)]
            assert all(event.next_refresh_at == event.error.retry_at for event in failed)
            assert failed

    run_virtual(main())


def test_reserve_is_kept_for_those_who_have_nothing() -> None:
    """A refresh ahead of time may not spend the last three mints; an expired token may."""

    async def main() -> None:
        policy = attrs.evolve(TokenPolicy(), refresh_retry=attrs.evolve(TokenPolicy()).retry_first)
        async with world(policy=policy) as it:
            await it.holder.token()
            it.server.mood = "lost"
            assert await _ask_until(it, 3580) == 0
            assert it.server.mints == 1 + 7

            it.server.mood = "ok"
            await asyncio.sleep(20)
            await it.holder.token()
            assert it.server.mints == 9

    run_virtual(main())


def test_stale_or_repeated_answers_are_no_mint_loop() -> None:
    """A token that is stale on arrival, or the same one again, is served, and counts as a failed refresh."""

    async def main() -> None:
        for mood in ("same", "old"):
            async with world() as it:
                await it.holder.token()
                it.server.mood = mood
                assert await _ask_until(it, 3500) == 0
                assert it.server.calls <= 6

    run_virtual(main())


def test_repeated_token_grows_no_younger() -> None:
    """The same value keeps its first anchor, even if the server's stamps say otherwise."""

    async def main() -> None:
        async with world() as it:
            first = await it.holder.token()
            it.server.mood = "same"
            it.server.made[first.value].at += 2000
            assert await _ask_until(it, 3400) == 0
            assert it.holder.status().expires_at == first.expires_at
            assert it.holder.status().generation == 1

    run_virtual(main())


def test_refused_credentials_stop_the_background() -> None:
    """401 on a refresh: no further attempt ahead of time, and the token at hand is served to its end."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            it.server.mood = "401"
            assert await _ask_until(it, 3580) == 0
            assert it.server.calls == 2
            assert it.holder.status().next_refresh_at is None
            assert isinstance(it.holder.status().last_error, CredentialsRejectedError)

            it.server.mood = "ok"
            await asyncio.sleep(20)
            await it.holder.token()
            assert it.server.mints + 1 == 3
            assert it.holder.status().next_refresh_at is not None

    run_virtual(main())


def test_refused_credentials_are_remembered_and_doubled() -> None:
    """60, 120, 240 ... seconds up to the window, and no call in between."""

    async def main() -> None:
        async with world() as it:
            it.server.mood = "401"
            for wait in (60, 120, 240, 480, 960, 1800, 1800):
                with pytest.raises(CredentialsRejectedError) as caught:
                    await it.holder.token()
                assert caught.value.retry_at is not None
                assert pytest.approx(wait) == caught.value.retry_at.timestamp() - it.clock.wall()
                await asyncio.sleep(wait + 0.1)
            assert it.server.calls == 7

    run_virtual(main())


def test_refused_credentials_after_an_outage_start_from_the_beginning() -> None:
    """What is doubled is the count of refusals in a row, not of failures of any kind."""

    async def main() -> None:
        async with world() as it:
            it.server.mood = "503"
            for _ in range(4):
                with pytest.raises(TokenError):
                    await it.holder.token()
                await asyncio.sleep(20)
            it.server.mood = "401"
            with pytest.raises(CredentialsRejectedError) as caught:
                await it.holder.token()
            assert caught.value.retry_at is not None
            assert pytest.approx(60) == caught.value.retry_at.timestamp() - it.clock.wall()

    run_virtual(main())


def test_a_bug_does_not_kill_the_background(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Any exception is logged once per change of state, and the loop goes on."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            armed = refresher_module.Refresher._armed

            def broken(self: refresher_module.Refresher) -> asyncio.Future[None]:
                raise RuntimeError("a bug")

            monkeypatch.setattr(refresher_module.Refresher, "_armed", broken)
            await asyncio.sleep(500)
            monkeypatch.setattr(refresher_module.Refresher, "_armed", armed)
            assert await _ask_until(it, 3550) == 0
            assert it.server.mints == 2

    with caplog.at_level(logging.ERROR):
        run_virtual(main())
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_a_bug_in_an_attempt_is_a_typed_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong in an attempt, callers get a TokenError with a time, and the log has the reason."""

    async def main() -> None:
        async with world() as it:

            async def broken(http: object, credentials: object) -> object:
                raise RuntimeError("a bug")

            mint = it.server.mint
            it.server.mint = broken  # type: ignore[method-assign,assignment]
            with pytest.raises(TokenError, match="unexpected") as caught:
                await it.holder.token()
            assert caught.value.retry_at is not None

            it.server.mint = mint  # type: ignore[method-assign]
            await asyncio.sleep(2)
            await it.holder.token()

    run_virtual(main())
    assert "a bug" in caplog.text


@pytest.mark.parametrize("before", [31, 45, 60, 75, 85, 100])
def test_background_notices_a_resume_within_a_slice(before: int) -> None:
    """After a suspend the refresh comes within 30 s of the loop's time, not when the rest of its sleep is over."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            await asyncio.sleep(before)
            it.clock.suspend(2700)
            await asyncio.sleep(30.1)
            assert it.server.mints == 2

    run_virtual(main())


def test_on_event_that_raises_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A user's callback may fail; the token does not."""

    async def main() -> None:
        async with world() as it:
            it.holder._announce._on_event = lambda _: 1 / 0
            await it.holder.token()
            assert it.server.mints == 1

    run_virtual(main())
    assert "on_event raised" in caplog.text


def test_refresh_stands_aside_for_a_failure_that_is_remembered() -> None:
    """Before its `retry_at` the background makes no attempt, even if it is woken."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            it.server.mood, it.server.retry_after = "503", 300.0
            await asyncio.sleep(it.holder.refresh_at() - it.clock.now() + 1)
            assert it.server.calls == 2
            failure = it.holder.state.failure
            assert failure is not None
            it.holder.state.postpone_refresh(it.clock.now())
            await it.holder.refresh()
            assert (it.server.calls, it.holder.refresh_at()) == (2, failure.until)

    run_virtual(main())


def test_alarm_and_timer_may_ring_at_once() -> None:
    """A refresher that is woken in the moment in which its timer rings is woken once."""

    async def main() -> None:
        alarm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refresher_module._ring(alarm)
        refresher_module._ring(alarm)
        assert alarm.done()

    run_virtual(main())


def test_readers_who_are_busy_at_a_refresh_go_on_with_the_new_token() -> None:
    """Those who read it at the moment of the refresh pay nothing for it, and count as asking; afterwards it cools."""

    async def main() -> None:
        async with world() as it:
            while it.server.mints < 2:
                await it.holder.token()
                await asyncio.sleep(0.2)
            await asyncio.sleep(0.05)  # nobody asks since the refresh
            held = it.holder.state.current
            assert held is not None
            assert held.token is it.holder.fast_token
            assert it.holder.state.used

            await asyncio.sleep(1.1)
            assert it.holder.fast_token is None

    run_virtual(main())


def test_new_token_that_is_stale_already_is_not_taken_as_fresh() -> None:
    """A server that hands out an old token: readers who are busy look at the clock again."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            it.server.mood = "old"
            while it.server.mints == 1:
                await asyncio.sleep(0.2)
                await it.holder.token()
            await asyncio.sleep(0.05)
            assert it.holder.fast_token is None
            assert it.current() == await it.holder.token()

    run_virtual(main())
