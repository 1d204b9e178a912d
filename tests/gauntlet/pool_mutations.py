"""Break, one place at a time, what a pool of tokens may spend, hand out and believe."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import Any, Final, TypeAlias

import attrs
import pytest

from truecaller_vbc.token.clock import NEVER
from truecaller_vbc.token.exchange import Exchange
from truecaller_vbc.token.holder import TokenHolder
from truecaller_vbc.token.pool import TokenPool
from truecaller_vbc.token.state import AccountState, RefreshMode

from .settings import Pools, Settings

Mutation: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def grows_without_end(patch: pytest.MonkeyPatch) -> None:
    """Ask for a further token however many live."""

    def has_room(self: TokenPool, _: Collection[str], now: float) -> bool:
        return self.proven and now >= max(self.single_until, self.grow_at)

    patch.setattr(TokenPool, "has_room", has_room)


def keeps_every_token(patch: pytest.MonkeyPatch) -> None:
    """Keep the tokens of a pool that a refresh has made one too many."""
    add = TokenPool.add

    def add_all(self: TokenPool, tokens: Any, newest: Any, rejected: Any, now: float) -> None:
        policy, self._policy = self._policy, attrs.evolve(self._policy, tokens=7)
        add(self, tokens, newest, rejected, now)
        self._policy = policy

    patch.setattr(TokenPool, "add", add_all)


def grows_out_of_the_reserve(patch: pytest.MonkeyPatch) -> None:
    """Spend the last mints on further tokens."""
    patch.setattr(AccountState, "_reserve", lambda _, mode: 3 if mode is RefreshMode.ADVISORY else 0)


def grows_without_a_proof(patch: pytest.MonkeyPatch) -> None:
    """Grow before the API has accepted an older token."""

    def has_room(self: TokenPool, rejected: Collection[str], now: float) -> bool:
        return now >= max(self.single_until, self.grow_at) and len(self.live(rejected, now)) + 1 < self._policy.tokens

    patch.setattr(TokenPool, "has_room", has_room)


def takes_no_further_token_of_others(patch: pytest.MonkeyPatch) -> None:
    """Mint a further token although another process has just done so."""
    adoptable = AccountState.adoptable

    def own_only(self: AccountState, now: float, mode: RefreshMode) -> Any:
        return None if mode is RefreshMode.GROW else adoptable(self, now, mode)

    patch.setattr(AccountState, "adoptable", own_only)


def grows_again_at_once(patch: pytest.MonkeyPatch) -> None:
    """Ask for a further token again right after a failure."""
    patch.setattr(AccountState, "growth_retry_at", lambda _, now: now)


def never_gives_a_pool_up(patch: pytest.MonkeyPatch) -> None:
    """Grow again after a new token has ended the older ones."""

    def only_for_a_moment(_: TokenPool) -> float:
        return -1.0

    patch.setattr(TokenPool, "longest_single", property(only_for_a_moment))


def keeps_the_end_of_a_pool_to_itself(patch: pytest.MonkeyPatch) -> None:
    """Do not write to the store that a pool has ended."""
    stored = Exchange._stored_key

    def without_the_end(self: Exchange, now: float, at: float) -> Any:
        return attrs.evolve(stored(self, now, at), single_until=None)

    patch.setattr(Exchange, "_stored_key", without_the_end)


def does_not_believe_that_a_pool_ended(patch: pytest.MonkeyPatch) -> None:
    """Ignore what other processes wrote about the end of a pool."""
    merge = Exchange._merge_pool

    def ignoring(self: Exchange, stored: Any, *args: Any, **options: Any) -> None:
        merge(self, attrs.evolve(stored, single_until=None), *args, **options)

    patch.setattr(Exchange, "_merge_pool", ignoring)


def gives_a_proven_pool_up(patch: pytest.MonkeyPatch) -> None:
    """Take the first rejected older token for the end of the pool, whatever was proven."""
    judge = TokenPool.judge

    def unproven(self: TokenPool, rejected: str, now: float) -> bool:
        self.proven, self.doubted_until = False, -NEVER
        return judge(self, rejected, now)

    patch.setattr(TokenPool, "judge", unproven)


def hands_out_ended_tokens(patch: pytest.MonkeyPatch) -> None:
    """Use older tokens after their end."""
    patch.setattr(TokenPool, "_ends_at", lambda _, one: one.starts_at + 5_000.0)


def hands_out_rejected_tokens(patch: pytest.MonkeyPatch) -> None:
    """Use older tokens that the API rejected."""
    patch.setattr(TokenPool, "live", lambda self, _, now: self._not_ended(now))


def takes_a_revocation_for_a_refusal(patch: pytest.MonkeyPatch) -> None:
    """Count a replacement as futile whenever an older token was sent first."""

    async def replacement_rejected(self: TokenHolder, _: Any, token: Any) -> bool:
        self.state.rejections.reject_replacement(token, self.state.current, self.now())
        return False

    patch.setattr(TokenHolder, "replacement_rejected", replacement_rejected)


def pools_everywhere(patch: pytest.MonkeyPatch) -> None:
    """Let every simulation have a pool of two, three or five tokens, a fleet, and few faults."""
    drawn = Settings.drawn

    def of_a_fleet(rng: random.Random) -> Settings:
        it = drawn(rng)
        rules = attrs.evolve(it.sandbox, token_lifetime=3600.0, reuse_token=False)
        return attrs.evolve(it, sandbox=rules, shared=True, clocks_apart=False, most_sessions=3)

    patch.setattr(Settings, "drawn", of_a_fleet)
    patch.setattr(Pools, "drawn", lambda seed: Pools(random.Random(seed), (2, 3, 5)[seed % 3], 1, calm=True))


POOL_MUTATIONS: Final[dict[Mutation, str]] = {
    grows_without_end: "pool size",
    keeps_every_token: "pool size",
    grows_out_of_the_reserve: "quota",
    grows_without_a_proof: "no mint loop",
    takes_no_further_token_of_others: "one mint for one need",
    grows_again_at_once: "one mint for one need",
    never_gives_a_pool_up: "one token",
    keeps_the_end_of_a_pool_to_itself: "one token",
    does_not_believe_that_a_pool_ended: "one token",
    gives_a_proven_pool_up: "a pool ends for a reason",
    hands_out_ended_tokens: "no expired token",
    hands_out_rejected_tokens: "no rejected token",
    takes_a_revocation_for_a_refusal: "recovery",
}
"""The invariant that each mutation violates."""

POOL_SEEDS: Final[dict[Mutation, int]] = {
    grows_without_end: 6,
    keeps_every_token: 3,
    grows_without_a_proof: 22,
    takes_no_further_token_of_others: 11,
    grows_again_at_once: 5,
    never_gives_a_pool_up: 4,
    keeps_the_end_of_a_pool_to_itself: 7,
    does_not_believe_that_a_pool_ended: 7,
    gives_a_proven_pool_up: 18,
    hands_out_rejected_tokens: 5,
    takes_a_revocation_for_a_refusal: 6,
}
"""A seed that detects the mutation early, where the first one does not."""
