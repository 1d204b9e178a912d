"""Break, one place at a time, what keeps processes, documents and clocks of others from doing harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import aiohttp
import pytest

from truecaller_vbc import Credentials, MemoryStore, VBCSession
from truecaller_vbc.errors import TokenEndpointError
from truecaller_vbc.stores import locks, protocol
from truecaller_vbc.token.endpoint import Answer, TokenEndpoint
from truecaller_vbc.token.exchange import Exchange
from truecaller_vbc.token.guards import GuardedStore
from truecaller_vbc.token.ledger import Outcome
from truecaller_vbc.token.minter import Minter
from truecaller_vbc.token.state import AccountState

Mutation: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def hangs_up_at_the_deadline(patch: pytest.MonkeyPatch) -> None:
    """End a token request when its callers stop waiting."""
    mint = TokenEndpoint.mint

    async def until_deadline(
        self: TokenEndpoint, http: aiohttp.ClientSession, credentials: Credentials, seconds: float
    ) -> Answer:
        return await mint(self, http, credentials, min(seconds, self._policy.mint_timeout.total_seconds()))

    patch.setattr(TokenEndpoint, "mint", until_deadline)


def forgets_late_answers(patch: pytest.MonkeyPatch) -> None:
    """Keep only what is answered before callers stop waiting."""
    answered = AccountState.answered

    def in_time(self: AccountState, attempt: Any, answer: Answer, sent: float, now: float, shift: float) -> Any:
        if now - sent > self._policy.mint_timeout.total_seconds():
            answer = Answer(Outcome.UNKNOWN, error=TokenEndpointError("late"))
        return answered(self, attempt, answer, sent, now, shift)

    patch.setattr(AccountState, "answered", in_time)


def stores_no_answer(patch: pytest.MonkeyPatch) -> None:
    """Write only the attempt to the store, not what came of it."""
    save = Minter._save

    async def save_attempt(self: Minter, *, raising: bool | None = None) -> bool:
        return True if raising is None else await save(self, raising=raising)

    patch.setattr(Minter, "_save", save_attempt)


def believes_every_time(patch: pytest.MonkeyPatch) -> None:
    """Believe waits of any length in a document."""
    patch.setattr(Exchange, "_may_last_until", lambda *_: True)


def counts_to_the_end(patch: pytest.MonkeyPatch) -> None:
    """Give revisions a highest number, which no write can replace."""
    patch.setattr(protocol, "REVISIONS", range(2**51))


def mints_after_its_lease(patch: pytest.MonkeyPatch) -> None:
    """Send a token request although the process was stopped until its lease had ended."""
    mint = Minter._mint

    async def mint_late(self: Minter, http: Any, mode: Any, lease_end: float, **_: bool) -> Any:
        return await mint(self, http, mode, lease_end)

    patch.setattr(Minter, "_mint", mint_late)


def leases_never_end(patch: pytest.MonkeyPatch) -> None:
    """Let a lease last until its owner gives it back."""
    taken = MemoryStore._taken
    patch.setattr(MemoryStore, "_taken", lambda self, key, _: taken(self, key, float("inf")))
    patch.setattr(locks, "_is_over", lambda *_: False)


def ignores_the_clock_of_the_store(patch: pytest.MonkeyPatch) -> None:
    """Take the time of the document from wall clocks although the store has a clock."""

    async def none(_: GuardedStore) -> None:
        return None

    patch.setattr(GuardedStore, "now", none)


def lives_on_in_children(patch: pytest.MonkeyPatch) -> None:
    """Let a session work in a forked process as in its own."""
    patch.setattr(VBCSession, "disown", lambda _: None)


PROCESS_MUTATIONS: Final[dict[Mutation, str]] = {
    hangs_up_at_the_deadline: "no mint is lost",
    forgets_late_answers: "one mint for one need",
    stores_no_answer: "no mint is lost",
    believes_every_time: "no call lacks a token",
    counts_to_the_end: "one mint for one need",
    mints_after_its_lease: "one mint for one need",
    leases_never_end: "no call lacks a token",
    ignores_the_clock_of_the_store: "one mint for one need",
    lives_on_in_children: "a child leaves its parent alone",
}
"""The invariant that each mutation violates."""

PROCESS_SEEDS: Final[dict[Mutation, int]] = {
    hangs_up_at_the_deadline: 6,
    forgets_late_answers: 7,
    believes_every_time: 53,
    counts_to_the_end: 152,
    mints_after_its_lease: 14,
    leases_never_end: 106,
    ignores_the_clock_of_the_store: 173,
}
"""A seed that detects the mutation early, where the first one does not."""
