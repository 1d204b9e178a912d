"""Test what the scenarios cannot state of rejected tokens and credentials callables."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import attrs
import pytest

from truecaller_vbc import (
    AccessToken,
    Credentials,
    CredentialsRejectedError,
    MemoryStore,
    TokenError,
    TokenPolicy,
    TokenRejected,
)

from .virtual_time import run_virtual
from .world import CREDENTIALS, world


def test_rejection_within_the_grace_period_is_announced() -> None:
    """A rejection of the current token within the grace period is announced and changes nothing."""

    async def main() -> None:
        async with world() as it:
            token = await it.holder.token()
            await asyncio.sleep(29)
            assert not await it.holder.rejected(token)
            assert token == await it.holder.token()
            rejected = it.events[-1]
            assert isinstance(rejected, TokenRejected)
            assert (rejected.fingerprint, rejected.replaced) == (token.fingerprint, False)

    run_virtual(main())


def test_deferred_refresh_does_not_fail_a_replacement() -> None:
    """A caller that joined a deferred refresh starts an attempt of its own."""

    async def main() -> None:
        policy = attrs.evolve(TokenPolicy(), max_mints=2, reserve_mints=1)
        async with world(policy=policy) as it:
            token = await it.holder.token()
            await asyncio.sleep(2500)
            it.server.made[token.value].live = False
            refreshing = asyncio.create_task(it.refresh())
            await asyncio.sleep(0)
            assert await it.holder.rejected(token)
            assert token != await it.holder.replacement(token)
            await refreshing

    run_virtual(main())


def test_callable_is_called_once_more_after_a_rejection() -> None:
    """A credentials callable is called when first needed, and once more when the server rejects what it returned."""

    async def main() -> None:
        given = [CREDENTIALS, Credentials("account", "key", "rotated")]
        asked = []

        async def vault() -> Credentials:
            asked.append(1)
            return given[min(len(asked), 2) - 1]

        async with world(source=vault) as it:
            assert it.holder.account_id is None
            await it.holder.token()
            assert it.holder.account_id == "account"
            assert len(asked) == 1

            it.server.accepts = "rotated"
            it.clock.suspend(4000)
            await asyncio.sleep(2)
            await it.holder.token()
            assert len(asked) == 2

            it.server.accepts = "something else"
            it.clock.suspend(4000)
            await asyncio.sleep(2)
            for _ in range(5):
                with pytest.raises(CredentialsRejectedError):
                    await it.holder.token()
            assert len(asked) == 3
            assert it.server.calls == 2 + 1 + 1
            assert it.holder.account_id == "account"

            await asyncio.sleep(61)
            it.server.accepts = "rotated"
            await it.holder.token()
            assert len(asked) == 4

    run_virtual(main())


@pytest.mark.parametrize("answer", [RuntimeError("vault is sealed"), "no credentials", "hangs"])
def test_callable_that_fails_is_a_token_error(answer: object) -> None:
    """A callable that fails or hangs gives a TokenError with a `retry_at`, and no token request is sent."""

    async def vault() -> Credentials:
        if isinstance(answer, Exception):
            raise answer
        if answer == "hangs":
            await asyncio.sleep(1e6)
        return answer  # type: ignore[return-value]

    async def main() -> None:
        async with world(source=vault) as it:
            began = it.clock.now()
            with pytest.raises(TokenError, match="credentials callable") as caught:
                await it.holder.token()
            assert caught.value.retry_at is not None
            assert it.server.calls == 0
            assert it.clock.now() - began <= 15.001

    run_virtual(main())


def test_callable_need_not_be_async() -> None:
    """The callable may be a plain function."""

    async def main() -> None:
        async with world(source=lambda: CREDENTIALS) as it:
            await it.holder.token()

    run_virtual(main())


def test_rejection_during_a_deferred_refresh_is_given_to_the_caller_if_no_mint_is_left() -> None:
    """A rejected token is kept if no mint is left: the caller gets the API's answer, not an error about the quota."""

    async def main() -> None:
        policy = attrs.evolve(TokenPolicy(), max_mints=1, reserve_mints=0)
        async with world(policy=policy) as it:
            token = await it.holder.token()
            await asyncio.sleep(31)
            refreshing = asyncio.create_task(it.refresh())
            await asyncio.sleep(0)
            assert not await it.holder.rejected(token)
            await refreshing
            assert it.server.calls == 1
            assert it.holder.state.current is not None

    run_virtual(main())


def test_spent_quota_does_not_hide_another_sessions_token() -> None:
    """A rejected token that cannot be replaced by a mint is replaced by the token that another session stored."""

    async def main() -> None:
        store = MemoryStore()
        poor = attrs.evolve(TokenPolicy(), max_mints=1, reserve_mints=0)
        async with world(store=store, policy=poor) as one, world(store=store, server=one.server) as two:
            dead = await one.holder.token()
            await two.holder.token()
            await asyncio.sleep(31)
            one.server.policy = TokenPolicy()
            assert await two.holder.rejected(dead)
            newer = await two.holder.replacement(dead)
            assert await one.holder.rejected(dead)
            assert await one.holder.replacement(dead) == newer
            assert one.server.mints == 2

    run_virtual(main())


def test_only_the_latest_rejected_tokens_are_remembered() -> None:
    """The number of remembered rejected tokens is limited."""

    async def main() -> None:
        async with world() as it:
            for number in range(1000):
                await it.holder.rejected(AccessToken(f"token-{number}", datetime.now(UTC), datetime.now(UTC)))
            assert list(it.holder.state.rejections.values)[-1] == "token-999"
            assert len(it.holder.state.rejections.values) == 32

    run_virtual(main())
