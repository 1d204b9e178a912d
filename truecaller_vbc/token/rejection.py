"""Judge tokens that the API rejected, and decide whether another mint would help. Pure."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import attrs

from ..backoff import grown
from .known_tokens import CurrentToken
from .model import AccessToken
from .policy import TokenPolicy
from .pool import TokenPool

_MAX_REMEMBERED: Final = 32


class Rejection(Enum):
    """What a rejected token means."""

    OUTDATED = "outdated"
    """It is no longer the current token: send the request again with the current one."""
    TOO_NEW = "too new"
    """It was obtained within the grace period, so the token is not the problem: give the answer to the caller."""
    KEPT = "kept"
    """It cannot be replaced now; other endpoints may still accept it."""
    SPENT = "spent"
    """No mint is left; only another process may have a newer token."""
    DROPPED = "dropped"
    """It is to be replaced."""


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Rejections:
    """What is known of rejected tokens. Methods take the current token of the account.

    Args:
        policy: the numbers.
        pool: of older tokens that still live; None if the policy wants one token only.

    Attributes:
        values: of the last rejected tokens, which are never adopted again.
        previous: for a current token that the API does not know yet: the one before may still live.
        futile: replacements in a row that the API rejected as well.
    """

    _policy: TokenPolicy
    _pool: TokenPool | None
    values: tuple[str, ...] = attrs.field(init=False, default=())
    previous: CurrentToken | None = attrs.field(init=False, default=None)
    futile: int = attrs.field(init=False, default=0)
    # The time of the last futile replacement, and of the last accepted token since.
    _futile_at: float = attrs.field(init=False, default=0.0)
    _accepted_at: float | None = attrs.field(init=False, default=None)
    # Rejected tokens in a row that the API never accepted.
    _unproven: int = attrs.field(init=False, default=0)

    def accept(self, token: AccessToken, current: CurrentToken | None, sent: float, now: Callable[[], float]) -> None:
        """Note that the API accepted a token, which ends the growth of the grace period.

        Args:
            token: that was sent.
            current: the current token.
            sent: when, on the event loop's clock.
            now: reads `Clock.now`, which is seldom needed.
        """
        if self._pool is not None:
            self._pool.accept(token, sent)
        if current is None or (current.accepted and not self.futile) or current.token is not token:
            return
        current.accepted = True
        self._unproven = 0
        if self.futile:
            self._accepted_at = now()

    def judge(
        self, token: AccessToken, current: CurrentToken | None, no_mint: Rejection | None, now: float
    ) -> Rejection:
        """Judge a token that the API rejected.

        Args:
            token: that was sent.
            current: the current token.
            no_mint: the verdict on a token that cannot be replaced now; None if one may be minted.
            now: on `Clock.now`.
        """
        if current is None or current.token.value != token.value:
            if self._pool is not None and self._pool.holds(token.value):
                if self.is_futile(now):
                    return Rejection.KEPT
                self._pool.reject(token.value, now)
            self.remember(token.value)
            return Rejection.OUTDATED
        return Rejection.TOO_NEW if self._is_too_new(current, now) else self._judge_current(current, no_mint, now)

    def judge_both(
        self, one: AccessToken, other: AccessToken, current: CurrentToken | None, no_mint: Rejection | None, now: float
    ) -> Rejection | None:
        """Judge the current token if the API rejected it and an older one for the same request; None if not.

        If it is proven that tokens live side by side, the current one is not too new to be known: all were revoked.
        An older one whose end is no sign counts as if the request had been sent with the current one only.
        """
        pool, values = self._pool, (one.value, other.value)
        if pool is None or current is None or current.token.value not in values or not any(map(pool.holds, values)):
            return None
        if not any(pool.is_sign(value, now) for value in values):
            return self.judge(current.token, current, no_mint, now)
        if not pool.proven and self._is_too_new(current, now):
            return Rejection.TOO_NEW
        for value in values:
            pool.reject(value, now)
        return self._judge_current(current, no_mint, now)

    def _judge_current(self, current: CurrentToken, no_mint: Rejection | None, now: float) -> Rejection:
        if self.is_futile(now):
            return Rejection.KEPT
        self.remember(current.token.value)
        if no_mint is not None:
            return no_mint
        self._unproven = 0 if current.accepted else self._unproven + 1
        if self._pool is not None:
            self._pool.doubt(now)
        return Rejection.DROPPED

    def reject_replacement(self, token: AccessToken, current: CurrentToken | None, now: float) -> None:
        """Note that the API rejected a token with which a request was sent again.

        One that was refreshed as planned may have been revoked together with the one before: it only confirms.
        """
        if current is None or current.token is not token or current.adopted:
            return
        if current.replacement or self.futile:
            self.futile += 1
            self._futile_at, self._accepted_at = now, None
            if self._pool is not None:
                # The tokens are not the problem: older ones go on to be used for other requests.
                self.values = tuple(value for value in self.values if not self._pool.holds(value))

    def is_futile(self, now: float) -> bool:
        """Tell whether the last replacement was rejected as well, so that another mint would not help either.

        For one lifetime of a token, unless the API accepted tokens since and has stopped accepting them: that may be a
        revocation. The silence that counts as such doubles with each futile replacement.
        """
        if not self.futile:
            return False
        if now >= self._futile_at + self._policy.lifetime.total_seconds():
            self.futile = 0
            return False
        return self._accepted_at is None or now - self._accepted_at < self._grown_grace(self.futile)

    def previous_for(self, rejected: AccessToken, current: CurrentToken | None, now: float) -> AccessToken | None:
        """Return the token before, if the current one was rejected within its grace period and that one still lives."""
        previous = self.previous
        if current is None or previous is None or current.token.value != rejected.value:
            return None
        if not self._is_too_new(current, now) or now >= previous.unusable_after:
            return None
        return None if previous.token.value in self.values else previous.token

    def remember(self, value: str) -> None:
        """Let a token never be adopted again."""
        self.values = (*(other for other in self.values if other != value), value)[-_MAX_REMEMBERED:]

    def _is_too_new(self, current: CurrentToken, now: float) -> bool:
        """Return whether the current token is within the grace period.

        That doubles with each token in a row that the API never accepted.
        """
        return now - current.obtained_at < self._grown_grace(self._unproven)

    def _grown_grace(self, count: int) -> float:
        longest = self._policy.mint_window.total_seconds()
        return grown(self._policy.rejection_grace.total_seconds(), count + 1, most=longest)
