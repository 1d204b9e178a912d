"""Test what the scenarios cannot state of the background task."""

from __future__ import annotations

import asyncio
import logging

import pytest

from truecaller_vbc import TokenError
from truecaller_vbc.token.holder import TokenHolder

from .virtual_time import run_virtual
from .world import World, world


async def _ask_until(it: World, until: float, every: float = 20.0) -> int:
    """Ask for a token at regular times. Return how often there was no valid one."""
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


def test_repeated_token_keeps_its_start() -> None:
    """A token that is returned again keeps its first start, even if the server's time stamps say otherwise."""

    async def main() -> None:
        async with world() as it:
            first = await it.holder.token()
            it.server.mood = "same"
            it.server.made[first.value].at += 2000
            assert await _ask_until(it, 3400) == 0
            assert it.holder.status().expires_at == first.expires_at
            assert it.holder.status().generation == 1

    run_virtual(main())


def test_a_bug_does_not_kill_the_background(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An exception in the background task is logged once, and the task continues."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()

            def broken(self: TokenHolder) -> float:
                raise RuntimeError("a bug")

            with monkeypatch.context() as patch:
                patch.setattr(TokenHolder, "refresh_at", broken)
                await asyncio.sleep(500)
            assert await _ask_until(it, 3550) == 0
            assert it.server.mints == 2

    with caplog.at_level(logging.ERROR):
        run_virtual(main())
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_a_bug_in_an_attempt_is_a_typed_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in an attempt gives callers a TokenError with a `retry_at`; the log has the traceback."""

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
def test_background_notices_a_resume_within_30_seconds(before: int) -> None:
    """After a suspend the refresh starts within 30 seconds of loop time."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            await asyncio.sleep(before)
            it.clock.suspend(2700)
            await asyncio.sleep(30.1)
            assert it.server.mints == 2

    run_virtual(main())


def test_on_event_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    """An exception from `on_event` does not affect the token."""

    async def main() -> None:
        async with world() as it:
            it.holder.announcer._on_event = lambda _: 1 / 0
            await it.holder.token()
            assert it.server.mints == 1

    run_virtual(main())
    assert "on_event raised" in caplog.text


def test_refresh_is_deferred_while_a_failure_is_remembered() -> None:
    """Before `retry_at` of a failure the background makes no attempt, even if it is woken."""

    async def main() -> None:
        async with world() as it:
            await it.holder.token()
            it.server.mood, it.server.retry_after = "503", 300.0
            await asyncio.sleep(it.holder.refresh_at() - it.clock.now() + 1)
            assert it.server.calls == 2
            failure = it.holder.state.failure
            assert failure is not None
            it.holder.state.postpone_refresh(it.clock.now())
            await it.refresh()
            assert (it.server.calls, it.holder.refresh_at()) == (2, failure.until)

    run_virtual(main())


def test_refresh_replaces_the_fast_token() -> None:
    """A refresh gives busy readers the new fast token, which counts as use and ends after a second."""

    async def main() -> None:
        async with world() as it:
            while it.server.mints < 2:
                await it.holder.token()
                await asyncio.sleep(0.2)
            await asyncio.sleep(0.05)  # no caller asked since the refresh
            held = it.holder.state.current
            assert held is not None
            assert held.token is it.holder.fast_token
            assert it.holder.state.used

            await asyncio.sleep(1.1)
            assert it.holder.fast_token is None

    run_virtual(main())


def test_stale_new_token_is_no_fast_token() -> None:
    """A new token that is already stale does not become the fast token."""

    async def main() -> None:
        async with world(seed=3) as it:
            await it.holder.token()
            it.server.mood = "old"
            while it.server.mints == 1:
                await asyncio.sleep(0.2)
                await it.holder.token()
            await asyncio.sleep(0.05)
            assert it.holder.fast_token is None
            assert it.current() == await it.holder.token()

    run_virtual(main())
