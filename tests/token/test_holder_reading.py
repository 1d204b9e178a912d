"""Test what the scenarios cannot state of reading the token."""

from __future__ import annotations

import asyncio
import contextvars
from datetime import timedelta

import attrs
import pytest

from truecaller_vbc import (
    AccessToken,
    SessionClosedError,
    TokenEndpointError,
    TokenPolicy,
)

from .virtual_time import run_virtual
from .world import world


def test_thousand_callers_share_one_failure() -> None:
    """A failed attempt is shared by all callers, and each gets its own exception object."""

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


def test_failure_without_waiters_is_remembered_and_silent() -> None:
    """When all waiters were cancelled, a failing attempt causes no asyncio warning and is still remembered."""

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
    """The attempt runs in an empty context, not in that of the first caller."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen = []

    async def main() -> None:
        async with world() as it:
            mint = it.server.mint

            async def watched(http: object, credentials: object, seconds: float) -> object:
                seen.append(variable.get())
                return await mint(http, credentials)  # type: ignore[arg-type]

            it.server.mint = watched  # type: ignore[method-assign,assignment]
            variable.set("request 1")
            await it.holder.token()
        assert seen == ["none"]

    run_virtual(main())


def test_fresh_token_starts_no_task_and_waits_for_nothing() -> None:
    """While a token is usable, `token()` returns without suspending and starts no task."""

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


@pytest.mark.parametrize(
    ("margin", "most"), [(timedelta(milliseconds=10), 0.002), (timedelta(seconds=10), 1), (timedelta(minutes=14), 1)]
)
def test_fast_token_ends_long_before_the_token(margin: timedelta, most: float) -> None:
    """The fast token is kept for a second at most, and at most for a tenth of the expiry margin."""

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


def test_close_during_a_mint_fails_all_callers() -> None:
    """Callers that wait when the session is closed get SessionClosedError, and so do later ones."""

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
