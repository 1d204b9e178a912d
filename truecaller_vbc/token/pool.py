"""Keep the older tokens of an account that still live, for programs that need the rates of several tokens.

The newest token is the current one, as always. Minting a further token makes it the current one, and the one before an
older one of the pool, which is used until it ends. So older tokens are never refreshed, and their number follows the
demand.

A server may end older tokens when it makes a new one, which is not documented. The API's answers tell: an older token
that is accepted after the newest was obtained proves that they live side by side. One that is rejected is a sign of the
opposite, until the same request is sent again with the newest: if that is accepted, the pool is given up for a day; if
it is rejected as well, all tokens were revoked, which says nothing about the next ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final

import attrs

from .clock import NEVER
from .known_tokens import KeyTokens
from .model import AccessToken
from .policy import TokenPolicy

SINGLE_LIFETIMES: Final = 24


@attrs.define(eq=False, repr=False, weakref_slot=False)
class TokenPool:
    """The older tokens of one API key.

    Args:
        policy: the numbers.

    Attributes:
        older: oldest first; they may have ended, and a rejected one stays until it was judged.
        obtained_at: when the newest token was obtained, on the event loop's clock.
        proven: whether the API has accepted an older token after the newest was obtained.
        single_until: a new token turned out to end the one before, so there is only one until then.
        doubted_until: tokens that began until then may have been revoked together with a current one that was rejected.
        grow_at: before that time no further token is asked for.
        listeners: called when a token may be new, and when the pool may grow.
        timer: for the next time when the listeners are to be called.
    """

    _policy: TokenPolicy
    older: tuple[KeyTokens, ...] = ()
    obtained_at: float = attrs.field(init=False, default=-NEVER)
    proven: bool = attrs.field(init=False, default=False)
    single_until: float = attrs.field(init=False, default=-NEVER)
    doubted_until: float = attrs.field(init=False, default=-NEVER)
    grow_at: float = attrs.field(init=False, default=-NEVER)
    listeners: list[Callable[[], object]] = attrs.field(init=False, factory=list["Callable[[], object]"])
    timer: asyncio.TimerHandle | None = attrs.field(init=False, default=None)

    def add(
        self, tokens: Iterable[KeyTokens], newest: AccessToken | None, rejected: Collection[str], now: float
    ) -> None:
        """Add tokens that were not rejected; keep the newest that still live, beside the newest of all."""
        known = {one.token.value: one for one in tokens if one.token is not None and one.token.value not in rejected}
        known |= {one.token.value: one for one in self.older if one.token is not None}
        if newest is not None:
            known.pop(newest.value, None)
        alive = sorted((one for one in known.values() if now < self._ends_at(one)), key=_starts_at)
        self.older = () if now < self.single_until else tuple(alive[1 - self._policy.tokens :])

    def live(self, rejected: Collection[str], now: float) -> list[AccessToken]:
        """Return the older tokens that may be handed out, newest first."""
        return [token for token in self._not_ended(now) if token.value not in rejected]

    def has_room(self, rejected: Collection[str], now: float) -> bool:
        """Return whether a further token may be asked for now, beside the current one.

        After the first one, not before it is proven that tokens live side by side.
        """
        if now < max(self.single_until, self.grow_at) or not (self.proven or not self._not_ended(now)):
            return False
        return len(self.live(rejected, now)) + 1 < self._policy.tokens

    def unproven(self, now: float) -> AccessToken | None:
        """Return an older token that the API has not accepted beside the newer one; None if there is no doubt."""
        return None if self.proven else next(iter(self._not_ended(now)), None)

    def accept(self, token: AccessToken, sent: float) -> None:
        """Note that the API accepted a token that was sent at a time on the event loop's clock."""
        if not self.proven and sent >= self.obtained_at and self.holds(token.value):
            self.proven = True
            self.tell()

    def tell(self) -> None:
        """Tell the listeners that a token may be new, or that the pool may grow."""
        for listener in self.listeners:
            listener()

    def cancel_timer(self) -> None:
        """Cancel the timer, if there is one."""
        if self.timer is not None:
            self.timer.cancel()

    # Rejected tokens

    def reject(self, value: str, now: float) -> None:
        """Note that an older token was rejected: until that was judged, the pool does not grow."""
        if self.holds(value):
            self.grow_at = max(self.grow_at, now + self._policy.mint_timeout.total_seconds())

    def judge(self, rejected: str, now: float) -> bool:
        """Judge a rejected token that it `holds`, in whose place the newest was accepted.

        Return whether the pool is given up.
        """
        one = next(one for one in self.older if _value(one) == rejected)
        self.grow_at = -NEVER
        if not self._is_sign(one, now):
            self._remove(rejected)
            return False
        is_over = not self.proven
        self.proven, self.older = False, ()
        if is_over:
            self.single_until = now + self.longest_single
        return is_over

    def doubt(self, now: float) -> None:
        """Note that the current token was rejected and is replaced: what ended it may have ended the older ones."""
        self.doubted_until, self.grow_at = now, -NEVER

    @property
    def trusted(self) -> tuple[KeyTokens, ...]:
        """The older tokens that other processes may use."""
        return tuple(one for one in self.older if one.starts_at > self.doubted_until)

    @property
    def longest_single(self) -> float:
        """The longest time, in seconds, for which the pool is given up."""
        return self._policy.lifetime.total_seconds() * SINGLE_LIFETIMES

    def holds(self, value: str) -> bool:
        """Return whether it is an older token, or one that was rejected and not judged."""
        return any(_value(one) == value for one in self.older)

    def is_sign(self, value: str, now: float) -> bool:
        """Return whether the rejection of this older token says something about the current one."""
        return any(self._is_sign(one, now) for one in self.older if _value(one) == value)

    def _is_sign(self, one: KeyTokens, now: float) -> bool:
        """Return whether it was not doubted before, and is not so near its end that it may have ended."""
        fresh_for = self._policy.fresh_for.total_seconds()
        return one.starts_at > self.doubted_until and now < one.starts_at + fresh_for

    def _remove(self, value: str) -> None:
        self.older = tuple(one for one in self.older if _value(one) != value)

    def _ends_at(self, one: KeyTokens) -> float:
        return one.starts_at + self._policy.usable_for.total_seconds()

    def _not_ended(self, now: float) -> list[AccessToken]:
        return [one.token for one in reversed(self.older) if one.token is not None and now < self._ends_at(one)]


def _starts_at(known: KeyTokens) -> float:
    return known.starts_at


def _value(known: KeyTokens) -> str | None:
    return None if known.token is None else known.token.value
