"""The library broken on purpose, each time in one place: what the judge is for."""

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
from truecaller_vbc.token.minter import Minter
from truecaller_vbc.token.refresher import Refresher
from truecaller_vbc.token.state import AccountState, RefreshMode
from truecaller_vbc.transport import Transport

from . import simulation
from .simulation import RulesOfLife

Break: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def no_quota(patch: pytest.MonkeyPatch) -> None:
    """The ledger always has room."""
    patch.setattr(Ledger, "free_at", lambda self, now, **_: max(now, self.full_until))


def server_grants_less(patch: pytest.MonkeyPatch) -> None:
    """The sandbox refuses mints that by the documents are free."""
    drawn = RulesOfLife.drawn

    def fewer(rng: Any) -> RulesOfLife:
        it = drawn(rng)
        return attrs.evolve(it, sandbox=attrs.evolve(it.sandbox, max_mints=2, count_failed=False))

    patch.setattr(simulation.RulesOfLife, "drawn", fewer)


def waits_too_long(patch: pytest.MonkeyPatch) -> None:
    """A failure is remembered ten times as long as it should be."""
    backoff = grow.backoff
    patch.setattr(state, "backoff", lambda *args, **options: 10 * backoff(*args, **options))


def forgets_a_stale_token(patch: pytest.MonkeyPatch) -> None:
    """Past its soft point a token is not handed out, though it is good."""
    usable = TokenHolder._usable

    def fresh_only(self: TokenHolder) -> AccessToken | None:
        token = usable(self)
        current = self.state.current
        return None if current is not None and self.now() >= current.refresh_after else token

    patch.setattr(TokenHolder, "_usable", fresh_only)


def never_told(patch: pytest.MonkeyPatch) -> None:
    """Those who wait for an attempt never hear of it."""

    def deliver(self: TokenHolder, _: asyncio.Task[Any]) -> None:
        self._attempt = None

    patch.setattr(TokenHolder, "_deliver", deliver)


def adopts_nothing(patch: pytest.MonkeyPatch) -> None:
    """A token that another session put into the store is left there."""
    patch.setattr(AccountState, "_max_age", lambda *_: 0.0)


def refreshes_in_a_loop(patch: pytest.MonkeyPatch) -> None:
    """A failed refresh is tried again a second later."""

    def soon(self: AccountState, now: float) -> None:
        self.postpone_refresh(now + 1.0)

    patch.setattr(AccountState, "refresh_failed", soon)


def each_caller_mints(patch: pytest.MonkeyPatch) -> None:
    """No single flight: whoever finds no token makes an attempt."""

    def attempted(self: TokenHolder) -> asyncio.Future[Any]:
        return self._loop.create_task(self._run(RefreshMode.MANDATORY))

    patch.setattr(TokenHolder, "_attempted", attempted)
    patch.setattr(Minter, "_adopt", lambda *_: None)


def logs_the_key(patch: pytest.MonkeyPatch) -> None:
    """A debug line with the API key in it."""
    mint = TokenEndpoint.mint

    async def told(
        self: TokenEndpoint, http: aiohttp.ClientSession, credentials: Credentials, seconds: float
    ) -> Answer:
        logging.getLogger("truecaller_vbc").debug("minting with %s", str(credentials.api_key))
        return await mint(self, http, credentials, seconds)

    patch.setattr(TokenEndpoint, "mint", told)


def shows_the_token(patch: pytest.MonkeyPatch) -> None:
    """A repr with the token in it."""
    patch.setattr(AccessToken, "__repr__", lambda self: f"<AccessToken {str(self.value)!s}>")


def error_quotes_the_key(patch: pytest.MonkeyPatch) -> None:
    """An error message with the API key in it."""
    mint = TokenEndpoint.mint

    async def quoted(
        self: TokenEndpoint, http: aiohttp.ClientSession, credentials: Credentials, seconds: float
    ) -> Answer:
        answer = await mint(self, http, credentials, seconds)
        if answer.error is not None:
            answer.error.args = (f"{answer.error} ({str(credentials.api_key)!s})",)
        return answer

    patch.setattr(TokenEndpoint, "mint", quoted)


def leaves_its_task(patch: pytest.MonkeyPatch) -> None:
    """The background goes on after the session was closed."""

    async def stop(_: Refresher) -> None:
        return

    patch.setattr(Refresher, "stop", stop)


def leaves_descriptors(patch: pytest.MonkeyPatch) -> None:
    """Each session opens a file and never closes it."""
    entered = VBCSession.__aenter__

    async def opens(self: VBCSession) -> VBCSession:
        _OPENED.append(os.dup(1))
        return await entered(self)

    patch.setattr(VBCSession, "__aenter__", opens)


def keeps_what_it_saw(patch: pytest.MonkeyPatch) -> None:
    """Memory that nobody frees."""
    merge = Exchange.merge_document

    def hoards(self: Exchange, *args: Any) -> None:
        _HOARD.extend(object() for _ in range(2_000))
        merge(self, *args)

    patch.setattr(Exchange, "merge_document", hoards)


def raises_what_comes(patch: pytest.MonkeyPatch) -> None:
    """An error of no known kind reaches callers."""
    request = Transport.request

    async def careless(self: Transport, *args: Any) -> aiohttp.ClientResponse:
        response = await request(self, *args)
        if response.status >= 400:
            raise KeyError("token")
        return response

    patch.setattr(Transport, "request", careless)


def stumbles(patch: pytest.MonkeyPatch) -> None:
    """A bug within an attempt: callers get a typed error, and the log says that it should not be."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    patch.setattr(AccountState, "fail", broken)


def replaces_no_dead_token(patch: pytest.MonkeyPatch) -> None:
    """A token that the API refuses is kept for the rest of its life."""

    async def keep(*_: object) -> bool:
        return False

    patch.setattr(TokenHolder, "rejected", keep)


def believes_too_long(patch: pytest.MonkeyPatch) -> None:
    """A token is handed out for longer than it lives."""
    patch.setattr(TokenPolicy, "usable_for", property(lambda self: self.lifetime + timedelta(minutes=20)))


def survives_no_outage(patch: pytest.MonkeyPatch) -> None:
    """Once its credentials were refused, it never asks again."""
    blocked = AccountState.blocking_error

    def for_ever(self: AccountState, now: float) -> Any:
        last = self.failure
        if last is not None and type(last.error) is CredentialsRejectedError:
            return last.error
        return blocked(self, now)

    patch.setattr(AccountState, "blocking_error", for_ever)


_OPENED: Final[list[int]] = []
_HOARD: Final[list[object]] = []


def undo() -> None:
    """Give back what the leaks took."""
    _HOARD.clear()
    while _OPENED:
        os.close(_OPENED.pop())


BREAKS: Final[dict[Break, str]] = {
    no_quota: "quota",
    server_grants_less: "quota",
    waits_too_long: "no call lacks a token",
    forgets_a_stale_token: "no call lacks a token",
    never_told: "no call lacks a token",
    survives_no_outage: "no call lacks a token",
    adopts_nothing: "one mint for one need",
    refreshes_in_a_loop: "one mint for one need",
    each_caller_mints: "one mint for one need",
    logs_the_key: "no secret is told",
    shows_the_token: "no secret is told",
    error_quotes_the_key: "no secret is told",
    leaves_its_task: "nothing grows",
    leaves_descriptors: "nothing grows",
    keeps_what_it_saw: "nothing grows",
    raises_what_comes: "typed errors",
    stumbles: "typed errors",
    replaces_no_dead_token: "recovery",
    believes_too_long: "no ended token",
}
"""Which break turns which invariant red."""

FIRST_SEEDS: Final[dict[Break, int]] = {
    no_quota: 3,
    server_grants_less: 3,
    forgets_a_stale_token: 4,
    survives_no_outage: 7,
    adopts_nothing: 2,
    refreshes_in_a_loop: 4,
    believes_too_long: 15,
}
"""Where a break is found soon, if not in the first world. Any world that meets it will do."""
