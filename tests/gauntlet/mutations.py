"""Break the library in one place at a time, so that the gauntlet must detect it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeAlias

import aiohttp
import attrs
import pytest

from truecaller_vbc import AccessToken, Credentials, TokenPolicy, VBCSession
from truecaller_vbc import backoff as grow
from truecaller_vbc.errors import CredentialsRejectedError
from truecaller_vbc.token import state
from truecaller_vbc.token.endpoint import Answer, TokenEndpoint
from truecaller_vbc.token.exchange import Exchange
from truecaller_vbc.token.holder import TokenHolder
from truecaller_vbc.token.ledger import Ledger
from truecaller_vbc.token.state import AccountState, RefreshMode
from truecaller_vbc.transport import Transport

from .account_mutations import ACCOUNT_MUTATIONS, counts_all_accounts_together
from .pool_mutations import POOL_MUTATIONS, POOL_SEEDS
from .process_mutations import PROCESS_MUTATIONS, PROCESS_SEEDS, forgets_late_answers, mints_after_its_lease
from .settings import Settings

Mutation: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def no_quota(patch: pytest.MonkeyPatch) -> None:
    """Give the ledger unlimited room."""
    patch.setattr(Ledger, "free_at", lambda self, now, **_: max(now, self.full_until))


def server_grants_less(patch: pytest.MonkeyPatch) -> None:
    """Make the sandbox refuse mints that the documented quota allows."""
    drawn = Settings.drawn

    def with_fewer_mints(rng: Any) -> Settings:
        it = drawn(rng)
        return attrs.evolve(it, sandbox=attrs.evolve(it.sandbox, max_mints=2, count_failed=False))

    patch.setattr(Settings, "drawn", with_fewer_mints)


def waits_too_long(patch: pytest.MonkeyPatch) -> None:
    """Make backoffs ten times too long."""
    backoff = grow.backoff
    patch.setattr(state, "backoff", lambda *args, **options: 10 * backoff(*args, **options))


def hides_a_stale_token(patch: pytest.MonkeyPatch) -> None:
    """Do not return a stale token that is still usable."""
    usable = TokenHolder._usable

    def fresh_only(self: TokenHolder) -> AccessToken | None:
        token = usable(self)
        current = self.state.current
        return None if current is not None and self.now() >= current.refresh_after else token

    patch.setattr(TokenHolder, "_usable", fresh_only)


def never_wakes_waiters(patch: pytest.MonkeyPatch) -> None:
    """Never resolve the futures of callers that wait for an attempt."""

    def deliver(self: TokenHolder, _: asyncio.Task[Any]) -> None:
        self._attempt = None

    patch.setattr(TokenHolder, "_deliver", deliver)


def adopts_nothing(patch: pytest.MonkeyPatch) -> None:
    """Ignore tokens that other sessions wrote to the store."""
    patch.setattr(AccountState, "_max_age", lambda *_: 0.0)


def refreshes_in_a_loop(patch: pytest.MonkeyPatch) -> None:
    """Retry a failed refresh after one second."""

    def soon(self: AccountState, now: float) -> None:
        self.postpone_refresh(now + 1.0)

    patch.setattr(AccountState, "refresh_failed", soon)


def each_caller_mints(patch: pytest.MonkeyPatch) -> None:
    """Start one attempt for each caller, without single flight."""

    def attempted(self: TokenHolder) -> asyncio.Future[Any]:
        return self.loop.create_task(self._run(RefreshMode.MANDATORY))

    patch.setattr(TokenHolder, "_attempted", attempted)
    patch.setattr(AccountState, "adoptable", lambda *_: None)


def logs_the_key(patch: pytest.MonkeyPatch) -> None:
    """Log the API key at DEBUG."""
    mint = TokenEndpoint.mint

    async def told(
        self: TokenEndpoint, http: aiohttp.ClientSession, credentials: Credentials, seconds: float
    ) -> Answer:
        logging.getLogger("truecaller_vbc").debug("minting with %s", str(credentials.api_key))
        return await mint(self, http, credentials, seconds)

    patch.setattr(TokenEndpoint, "mint", told)


def shows_the_token(patch: pytest.MonkeyPatch) -> None:
    """Show the token in a repr."""
    patch.setattr(AccessToken, "__repr__", lambda self: f"<AccessToken {str(self.value)!s}>")


def error_quotes_the_key(patch: pytest.MonkeyPatch) -> None:
    """Put the API key into an error message."""
    mint = TokenEndpoint.mint

    async def quoted(
        self: TokenEndpoint, http: aiohttp.ClientSession, credentials: Credentials, seconds: float
    ) -> Answer:
        answer = await mint(self, http, credentials, seconds)
        if answer.error is not None:
            answer.error.args = (f"{answer.error} ({str(credentials.api_key)!s})",)
        return answer

    patch.setattr(TokenEndpoint, "mint", quoted)


def leaks_its_task(patch: pytest.MonkeyPatch) -> None:
    """Start a task in each session that `close` does not end."""
    entered = VBCSession.__aenter__

    async def starts(self: VBCSession) -> VBCSession:
        _TASKS.append(asyncio.create_task(asyncio.sleep(1e9), name="truecaller_vbc leaked"))
        return await entered(self)

    patch.setattr(VBCSession, "__aenter__", starts)


def leaks_descriptors(patch: pytest.MonkeyPatch) -> None:
    """Open a file in each session, and never close it."""
    entered = VBCSession.__aenter__

    async def opens(self: VBCSession) -> VBCSession:
        _OPENED.append(os.dup(1))
        return await entered(self)

    patch.setattr(VBCSession, "__aenter__", opens)


def leaks_memory(patch: pytest.MonkeyPatch) -> None:
    """Keep a growing list."""
    merge = Exchange.merge_document

    def merge_and_leak(self: Exchange, *args: Any) -> None:
        _HOARD.extend(object() for _ in range(2_000))
        merge(self, *args)

    patch.setattr(Exchange, "merge_document", merge_and_leak)


def raises_an_untyped_error(patch: pytest.MonkeyPatch) -> None:
    """Raise an error of an undocumented type."""
    request = Transport.request

    async def raise_key_error(self: Transport, *args: Any) -> aiohttp.ClientResponse:
        response = await request(self, *args)
        if response.status >= 400:
            raise KeyError("token")
        return response

    patch.setattr(Transport, "request", raise_key_error)


def fails_with_a_bug(patch: pytest.MonkeyPatch) -> None:
    """Fail inside an attempt with a bug, which is logged as such although callers get a typed error."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    patch.setattr(AccountState, "fail", broken)


def keeps_a_rejected_token(patch: pytest.MonkeyPatch) -> None:
    """Keep using a token that the API rejected."""

    async def keep(*_: object) -> bool:
        return False

    patch.setattr(TokenHolder, "rejected", keep)


def uses_expired_tokens(patch: pytest.MonkeyPatch) -> None:
    """Return tokens after their end."""
    patch.setattr(TokenPolicy, "usable_for", property(lambda self: self.lifetime + timedelta(minutes=20)))


def never_retries_rejected_credentials(patch: pytest.MonkeyPatch) -> None:
    """Never retry after the credentials were refused."""
    blocked = AccountState.blocking_error

    def without_end(self: AccountState, now: float) -> Any:
        last = self.failure
        if last is not None and type(last.error) is CredentialsRejectedError:
            return last.error
        return blocked(self, now)

    patch.setattr(AccountState, "blocking_error", without_end)


def clocks_apart(patch: pytest.MonkeyPatch) -> None:
    """Put every session on one of three machines with different clocks, and all on a store without a clock."""
    drawn = Settings.drawn

    def without_common_clock(rng: Any) -> Settings:
        it = drawn(rng)
        most = max(2, it.most_sessions)
        return attrs.evolve(it, shared=True, clocks_apart=True, store_clock=False, most_sessions=most)

    patch.setattr(Settings, "drawn", without_common_clock)


_OPENED: Final[list[int]] = []
_TASKS: Final[list[asyncio.Task[None]]] = []
_HOARD: Final[list[object]] = []


def undo() -> None:
    """Release what the leaking mutations took."""
    _HOARD.clear()
    while _OPENED:
        os.close(_OPENED.pop())


MUTATIONS: Final[dict[Mutation, str]] = {
    no_quota: "quota",
    server_grants_less: "quota",
    waits_too_long: "no call lacks a token",
    hides_a_stale_token: "no call lacks a token",
    never_wakes_waiters: "no call lacks a token",
    never_retries_rejected_credentials: "no call lacks a token",
    adopts_nothing: "one mint for one need",
    refreshes_in_a_loop: "one mint for one need",
    each_caller_mints: "one mint for one need",
    logs_the_key: "no secret is shown",
    shows_the_token: "no secret is shown",
    error_quotes_the_key: "no secret is shown",
    leaks_its_task: "nothing grows",
    leaks_descriptors: "nothing grows",
    leaks_memory: "nothing grows",
    raises_an_untyped_error: "typed errors",
    fails_with_a_bug: "typed errors",
    keeps_a_rejected_token: "recovery",
    uses_expired_tokens: "no expired token",
    **PROCESS_MUTATIONS,
    **POOL_MUTATIONS,
    **ACCOUNT_MUTATIONS,
}
"""The invariant that each mutation violates."""

FIRST_SEEDS: Final[dict[Mutation, int]] = {
    server_grants_less: 4,
    waits_too_long: 4,
    hides_a_stale_token: 21,
    never_wakes_waiters: 3,
    never_retries_rejected_credentials: 7,
    adopts_nothing: 4,
    refreshes_in_a_loop: 4,
    each_caller_mints: 3,
    fails_with_a_bug: 3,
    uses_expired_tokens: 6,
    **PROCESS_SEEDS,
    **POOL_SEEDS,
    counts_all_accounts_together: 3,
}
"""A seed that detects the mutation early, where the first one does not."""

CLOCKS_APART: Final[dict[Mutation, int]] = {
    no_quota: 1,
    adopts_nothing: 1,
    waits_too_long: 4,
    refreshes_in_a_loop: 4,
    forgets_late_answers: 3,
    mints_after_its_lease: 6,
}
"""Mutations that must be detected without a common clock, too, where the checker allows for more."""
