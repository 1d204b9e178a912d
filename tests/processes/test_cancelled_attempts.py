"""Tests of attempts that other code cancels, and of rejections while an attempt is under way."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import attrs
import pytest

from truecaller_vbc import Credentials, SessionClosedError, TokenEndpointError, TokenPolicy
from truecaller_vbc.errors import CredentialsRejectedError
from truecaller_vbc.token.exchange import Exchange
from truecaller_vbc.token.holder import TokenHolder
from truecaller_vbc.token.ledger import Attempt, Outcome
from truecaller_vbc.token.state import AccountState, RefreshMode
from truecaller_vbc.token.tasks import GracefulTask, shielded

from ..token.virtual_time import run_virtual
from ..token.world import CREDENTIALS, world


async def _started(holder: TokenHolder) -> GracefulTask[object]:
    await asyncio.sleep(0)
    assert isinstance(holder._attempt, GracefulTask)
    return holder._attempt


def test_attempt_that_is_cancelled_twice_is_reported() -> None:
    """An attempt that is cancelled before its request starts again once; after that the callers are told."""

    async def main() -> None:
        async def vault() -> Credentials:
            await asyncio.sleep(3600)
            return CREDENTIALS

        async with world(source=vault) as it:
            waiting = asyncio.create_task(it.holder.token())
            first = await _started(it.holder)
            first.cancel()
            await asyncio.wait([first])
            second = await _started(it.holder)
            assert second is not first
            second.cancel()
            with pytest.raises(TokenEndpointError, match="cancelled from outside"):
                await waiting
            assert it.server.calls == 0

    run_virtual(main())


def test_event_callback_that_cancels_its_task_costs_nothing() -> None:
    """`on_event` runs in the task of the attempt; if it cancels that, the token is kept, and is not minted again."""

    def cancel(_: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def main() -> None:
        async with world() as it:
            it.holder.announcer._on_event = cancel
            first, *others = await asyncio.gather(*(it.holder.token() for _ in range(5)))
            assert {token.value for token in others} == {first.value}
            assert it.holder.status().last_error is None
            for _ in range(80):
                await asyncio.sleep(60)
                await it.holder.token()
            assert it.server.mints == 2

    run_virtual(main())


def test_interrupt_in_an_attempt_leaves_no_waiter() -> None:
    """A KeyboardInterrupt that hits the attempt is raised by the loop, and the callers get an error."""

    async def main() -> None:
        async with world() as it:
            holder = it.holder
            waiter = asyncio.get_running_loop().create_future()
            holder._waiters = [waiter]

            async def interrupted() -> None:
                raise ZeroDivisionError

            task = asyncio.create_task(interrupted())
            await asyncio.wait([task])
            holder._deliver(task)
            assert isinstance(waiter.result(), TokenEndpointError)

    run_virtual(main())


def test_rejection_waits_for_the_running_mint() -> None:
    """A token that is rejected while a mint is under way waits for it, whatever its age, and costs no mint."""

    async def main() -> None:
        async with world() as it:
            token = await it.holder.token()
            it.holder.state.used = False  # so that the background does not refresh it
            await asyncio.sleep(2750)
            it.holder._start(RefreshMode.ADVISORY)
            await asyncio.sleep(0)
            assert await it.holder.rejected(token)
            assert await it.holder.replacement(token) != token
            assert it.server.mints == 2

    run_virtual(main())


def test_rejection_during_close_is_given_to_the_caller() -> None:
    """A rejection that waits for a mint ends with the session."""

    async def main() -> None:
        async with world() as it:
            token = await it.holder.token()
            it.holder.state.used = False  # so that the background does not refresh it
            await asyncio.sleep(2750)
            it.holder._start(RefreshMode.ADVISORY)
            rejection = asyncio.create_task(it.holder.rejected(token))
            await asyncio.sleep(0)
            await it.holder.close()
            assert not await rejection
            with pytest.raises(SessionClosedError):
                await it.holder.token()

    run_virtual(main())


def test_fresh_token_that_is_rejected_is_replayed_with_the_one_before() -> None:
    """Where the API learns of a new token late, the token before serves the request, and no mint is spent."""

    async def main() -> None:
        async with world() as it:
            old = await it.holder.token()
            await asyncio.sleep(2750)
            await it.refresh()
            new = await it.holder.token()
            assert new != old
            assert await it.holder.rejected(new)
            assert await it.holder.replacement(new) == old
            it.holder.state.reject(old, it.holder.now())
            assert not await it.holder.rejected(new)
            assert it.server.mints == 2

    run_virtual(main())


def test_futile_replacements_end_with_the_lifetime() -> None:
    """After a replacement that was rejected as well, none is made for an hour, unless the API accepted tokens again."""

    async def main() -> None:
        policy = attrs.evolve(TokenPolicy(), rejection_grace=timedelta(seconds=1))
        async with world(policy=policy) as it:
            state = it.holder.state
            token = await it.holder.token()
            await asyncio.sleep(10)
            assert await it.holder.rejected(token)
            second = await it.holder.replacement(token)
            assert not await it.holder.replacement_rejected(token, second)
            await asyncio.sleep(10)
            assert not await it.holder.rejected(second)
            it.holder.accepted(second)
            assert not await it.holder.rejected(second)
            await asyncio.sleep(3600)
            assert not state.rejections.is_futile(it.holder.now())
            assert not state.rejections.is_futile(it.holder.now())

    run_virtual(main())


def test_second_cancellation_does_not_shorten_the_grace() -> None:
    """Repeated cancellations of a shielded task count from the first."""

    async def main() -> None:
        done: list[float] = []

        async def work() -> None:
            with shielded():
                await asyncio.sleep(3)
            done.append(loop.time())

        loop = asyncio.get_running_loop()
        began = loop.time()
        task = GracefulTask(work(), loop=loop, grace=5, name="work")
        await asyncio.sleep(0)
        assert task.cancel()
        await asyncio.sleep(1)
        assert task.cancel()
        await task
        assert not task.cancel()
        assert done == [pytest.approx(began + 3)]

    run_virtual(main())


def test_callable_is_not_asked_again_once_the_loop_ends() -> None:
    """An attempt whose cancellation was deferred starts nothing new after its answer."""

    async def main() -> None:
        asked: list[int] = []

        async def vault() -> Credentials:
            asked.append(1)
            return CREDENTIALS

        async with world(source=vault) as it:
            it.server.mood = "401"
            it.server.latency = 1.0
            waiting = asyncio.create_task(it.holder.token())
            attempt = await _started(it.holder)
            await asyncio.sleep(0.5)
            attempt.cancel()
            with pytest.raises(CredentialsRejectedError):
                await waiting
            assert asked == [1]

    run_virtual(main())


def test_caller_that_joins_a_deferred_refresh_starts_an_attempt_of_its_own() -> None:
    """A refresh that is deferred gives its waiters nothing; a caller without a token then gets one itself."""

    async def main() -> None:
        policy = attrs.evolve(TokenPolicy(), max_mints=2, reserve_mints=1)
        async with world(policy=policy) as it:
            first = await it.holder.token()
            it.holder.state.used = False
            await asyncio.sleep(2500)
            it.holder.state.ledger = it.holder.state.ledger.put(Attempt("other", it.holder.now(), Outcome.MINTED))
            it.holder._start(RefreshMode.ADVISORY)
            it.holder.state.drop()
            assert await it.holder.token() == first

    run_virtual(main())


def test_document_of_a_store_that_was_never_read() -> None:
    """A document can be written before one was read: its times are those of this process."""
    state = AccountState(TokenPolicy())
    state.credentials = CREDENTIALS
    document = Exchange(state, TokenPolicy()).to_document(100.0, 1_000_000.0)

    assert document.written_at == pytest.approx(1_000_100.0)


@pytest.mark.parametrize("account", ["account", "other"])
def test_spent_quota_of_one_account_does_not_bind_another(account: str) -> None:
    """Where the quota is spent and the token is dead, the callable is asked whether there is another account."""

    async def main() -> None:
        given = [CREDENTIALS]

        async def vault() -> Credentials:
            return given[-1]

        policy = attrs.evolve(TokenPolicy(), max_mints=1, reserve_mints=0, rejection_grace=timedelta(0))
        async with world(source=vault, policy=policy) as it:
            token = await it.holder.token()
            await asyncio.sleep(1)
            given.append(Credentials(account, "key", "secret"))
            it.server.arrivals.clear()  # the server counts each account by itself
            assert await it.holder.rejected(token) is (account == "other")
            assert it.server.mints == (1 if account == "other" else 0)
            assert it.holder.account_id == account

    run_virtual(main())


def test_exit_in_the_credentials_callable_ends_the_program() -> None:
    """A SystemExit that the callable raises is not turned into a token error."""

    async def leave() -> Credentials:
        raise SystemExit(3)

    async def main() -> None:
        async with world(source=leave) as it:
            await it.holder.token()

    with pytest.raises(SystemExit):
        run_virtual(main())
