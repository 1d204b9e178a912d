"""A rejected token is judged by which token was sent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from truecaller_vbc import (
    AccessToken,
    Credentials,
    CredentialsRejectedError,
    MemoryStore,
    MintQuotaExhaustedError,
    TokenEndpointError,
    TokenError,
    TokenPolicy,
    TokenRejected,
)

from .virtual_time import run_virtual
from .world import CREDENTIALS, world


def test_older_token_is_replaced_by_the_current_one() -> None:
    """Rejections of a token that is no longer held cost nothing."""

    async def main() -> None:
        async with world() as it:
            old = await it.holder.token()
            await asyncio.sleep(2710)
            current = await it.holder.token()
            for _ in range(100):
                assert it.holder.rejected(old)
                assert current == await it.holder.replacement(old)
            assert it.server.mints == 2

    run_virtual(main())


def test_current_token_is_replaced_once_for_everybody() -> None:
    """The current token, older than the grace: dropped, and one mint for all."""

    async def main() -> None:
        async with world() as it:
            dead = await it.holder.token()
            await asyncio.sleep(31)

            async def one() -> object:
                assert it.holder.rejected(dead)
                return await it.holder.replacement(dead)

            replacements = await asyncio.gather(*(one() for _ in range(100)))
            assert len(set(replacements)) == 1
            assert dead not in replacements
            assert it.server.mints == 2

    run_virtual(main())


def test_fresh_token_that_is_refused_is_no_token_problem() -> None:
    """The current token, obtained less than the grace ago: the 401 is the caller's."""

    async def main() -> None:
        async with world() as it:
            token = await it.holder.token()
            await asyncio.sleep(29)
            assert not it.holder.rejected(token)
            assert token == await it.holder.token()
            assert TokenRejected(token.fingerprint, replaced=False) == it.events[-1]

    run_virtual(main())


def test_a_server_that_refuses_every_token_does_not_get_them_all() -> None:
    """With each token in a row that was never accepted, the grace doubles: most of the quota survives."""

    async def main() -> None:
        async with world() as it:
            while it.clock.now() < 1800:
                token = await it.holder.token()
                if it.holder.rejected(token):
                    await it.holder.replacement(token)
                await asyncio.sleep(1)
            assert 4 <= it.server.mints <= 7

    run_virtual(main())


def test_doubling_of_the_grace_ends_at_the_window() -> None:
    """By then every mint is free again, so one more try in a window costs nothing that somebody else needs."""

    async def main() -> None:
        async with world(policy=attrs.evolve(TokenPolicy(), rejection_grace=timedelta(minutes=20))) as it:
            for wait in (1201, 1801, 1801):
                token = await it.holder.token()
                await asyncio.sleep(wait - 2)
                assert not it.holder.rejected(token)
                await asyncio.sleep(2)
                assert it.holder.rejected(token)
                assert await it.holder.replacement(token) != token

    run_virtual(main())


def test_accepted_tokens_end_the_doubling() -> None:
    """A token that worked and then is revoked is replaced after the plain grace, however often that happens."""

    async def main() -> None:
        async with world() as it:
            for _ in range(5):
                token = await it.holder.token()
                it.holder.accepted(token)
                await asyncio.sleep(31)
                assert it.holder.rejected(token)
                await it.holder.replacement(token)
            assert it.server.mints == 6

    run_virtual(main())


def test_token_that_cannot_be_replaced_is_kept() -> None:
    """With the quota spent nothing is dropped: the caller gets the error, others may still use the token."""

    async def main() -> None:
        policy = attrs.evolve(TokenPolicy(), max_mints=1, reserve_mints=0)
        async with world(policy=policy) as it:
            token = await it.holder.token()
            await asyncio.sleep(31)
            assert it.holder.rejected(token)
            with pytest.raises(MintQuotaExhaustedError):
                await it.holder.replacement(token)
            assert token == await it.holder.token()
            assert it.server.calls == 1

    run_virtual(main())


def test_token_is_kept_while_a_failure_is_remembered() -> None:
    """Whoever hears a refusal before `retry_at` gets that failure; the token stays for endpoints that take it."""

    async def main() -> None:
        async with world() as it:
            token = await it.holder.token()
            it.server.mood, it.server.retry_after = "503", 300.0
            await asyncio.sleep(it.holder.refresh_at() - it.clock.now() + 1)
            for _ in range(3):
                assert it.holder.rejected(token)
                with pytest.raises(TokenEndpointError):
                    await it.holder.replacement(token)
                assert TokenRejected(token.fingerprint, replaced=False) == it.events[-1]
            assert token == await it.holder.token()
            assert it.server.calls == 2

    run_virtual(main())


def test_failed_replacement_is_everybodys_failure() -> None:
    """When the re-mint fails, its error is raised, and shared until its time has come."""

    async def main() -> None:
        async with world() as it:
            token = await it.holder.token()
            await asyncio.sleep(31)
            it.server.mood = "503"
            for _ in range(3):
                assert it.holder.rejected(token)
                with pytest.raises(TokenEndpointError):
                    await it.holder.replacement(token)
            assert it.server.calls == 2

    run_virtual(main())


def test_rejected_value_is_never_adopted_again() -> None:
    """What one session saw refused, it does not take from the store; the other's replacement it does."""

    async def main() -> None:
        store = MemoryStore()
        async with world(store=store) as one, world(store=store, server=one.server) as two:
            dead = await one.holder.token()
            assert dead == await two.holder.token()
            await asyncio.sleep(31)
            for it in (one, two):
                assert it.holder.rejected(dead)
                assert dead != await it.holder.replacement(dead)
            assert one.server.mints == 2
            assert one.current() == two.current()
            assert two.kinds()[-1] == "TokenAdopted"

    run_virtual(main())


def test_refresh_in_flight_is_joined_by_a_rejection() -> None:
    """A token that is refused while its refresh is under way costs no second mint."""

    async def main() -> None:
        async with world() as it:
            token = await it.holder.token()
            it.server.latency = 10.0
            await asyncio.sleep(it.holder.refresh_at() - it.clock.now() + 1)
            assert it.holder.rejected(token)
            await it.holder.replacement(token)
            assert it.server.mints == 2

    run_virtual(main())


def test_refresh_that_stands_aside_does_not_fail_a_rejection() -> None:
    """A caller who joined a refresh that then may not happen has an attempt of its own."""

    async def main() -> None:
        policy = attrs.evolve(TokenPolicy(), max_mints=2, reserve_mints=1)
        async with world(policy=policy) as it:
            token = await it.holder.token()
            await asyncio.sleep(31)
            it.server.made[token.value].live = False
            refreshing = asyncio.create_task(it.holder.refresh())
            await asyncio.sleep(0)
            assert it.holder.rejected(token)
            assert token != await it.holder.replacement(token)
            await refreshing

    run_virtual(main())


def test_callable_is_asked_once_more_when_refused() -> None:
    """Credentials from a vault: asked when first needed, and once more when the server refuses them."""

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
    """A vault that fails, or hangs for the time of a mint, is a dated TokenError without any call to the endpoint."""

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
    """A plain function that returns Credentials will do."""

    async def main() -> None:
        async with world(source=lambda: CREDENTIALS) as it:
            await it.holder.token()

    run_virtual(main())


def test_mended_typo_works_at_once() -> None:
    """Refused credentials bind only the API key that was refused, also in a shared store."""

    async def main() -> None:
        store = MemoryStore()
        typo = Credentials("account", "key", "sceret")
        async with world(store=store, source=typo) as wrong:
            with pytest.raises(CredentialsRejectedError):
                await wrong.holder.token()
            async with world(store=store, source=typo, server=wrong.server) as again:
                with pytest.raises(CredentialsRejectedError):
                    await again.holder.token()
                assert wrong.server.calls == 1
            async with world(store=store, server=wrong.server) as mended:
                await mended.holder.token()
                assert wrong.server.calls == 2

    run_virtual(main())


def test_grace_may_be_none() -> None:
    """`rejection_grace=0` replaces at once."""

    async def main() -> None:
        policy = attrs.evolve(TokenPolicy(), rejection_grace=timedelta(0))
        async with world(policy=policy) as it:
            token = await it.holder.token()
            assert it.holder.rejected(token)
            assert token != await it.holder.replacement(token)

    run_virtual(main())


def test_rejection_joins_a_refresh_that_stands_aside_and_then_asks_for_itself() -> None:
    """With the quota spent, a caller who joined the background's attempt still gets the reason."""

    async def main() -> None:
        policy = attrs.evolve(TokenPolicy(), max_mints=1, reserve_mints=0)
        async with world(policy=policy) as it:
            token = await it.holder.token()
            await asyncio.sleep(31)
            refreshing = asyncio.create_task(it.holder.refresh())
            await asyncio.sleep(0)
            assert it.holder.rejected(token)
            with pytest.raises(MintQuotaExhaustedError):
                await it.holder.replacement(token)
            await refreshing
            assert it.server.calls == 1

    run_virtual(main())


def test_spent_quota_does_not_hide_another_sessions_token() -> None:
    """A rejected token that we could not replace is replaced by what another session has stored."""

    async def main() -> None:
        store = MemoryStore()
        poor = attrs.evolve(TokenPolicy(), max_mints=1, reserve_mints=0)
        async with world(store=store, policy=poor) as one, world(store=store, server=one.server) as two:
            dead = await one.holder.token()
            await two.holder.token()
            await asyncio.sleep(31)
            one.server.policy = TokenPolicy()
            assert two.holder.rejected(dead)
            newer = await two.holder.replacement(dead)
            assert one.holder.rejected(dead)
            assert await one.holder.replacement(dead) == newer
            assert one.server.mints == 2

    run_virtual(main())


def test_only_the_latest_refusals_are_remembered() -> None:
    """A process that lives for years does not remember every token that it ever saw."""

    async def main() -> None:
        async with world() as it:
            for number in range(1000):
                it.holder.rejected(AccessToken(f"token-{number}", datetime.now(UTC), datetime.now(UTC)))
            assert list(it.holder.state._rejected)[-1] == "token-999"
            assert len(it.holder.state._rejected) == 32

    run_virtual(main())
