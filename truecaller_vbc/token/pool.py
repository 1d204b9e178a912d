"""Keep the older tokens of an account that still live, for programs that need the rates of several tokens.

The newest token is the current one, as always. Minting a further token makes it the current one, and the one before an
older one of the pool, which is used until it ends. So older tokens are never refreshed, and their number follows the
demand. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

import attrs

from .clock import NEVER

if TYPE_CHECKING:
    from .model import AccessToken
    from .state import KeyTokens


@attrs.define(eq=False, repr=False, weakref_slot=False)
class TokenPool:
    """The older tokens of one API key.

    Args:
        size: how many tokens may live at once, with the current one.
        usable_for: for how many seconds a token is handed out.

    Attributes:
        older: oldest first; they may have ended.
        single: whether a new token turned out to end the one before, so that there is only one at a time.
        proven: whether the API has accepted an older token beside a newer one.
        grow_at: before that time, on `Clock.now`, no further token is asked for.
        listeners: called when an attempt has ended, and when the pool is proven.
    """

    size: int
    usable_for: float
    older: tuple[KeyTokens, ...] = ()
    single: bool = False
    proven: bool = attrs.field(init=False, default=False)
    grow_at: float = attrs.field(init=False, default=-NEVER)
    listeners: list[Callable[[], object]] = attrs.field(init=False, factory=list["Callable[[], object]"])

    def add(self, tokens: Iterable[KeyTokens], newest: AccessToken | None, now: float) -> None:
        """Add tokens; keep the newest that still live, beside the newest of all."""
        known = {one.token.value: one for one in (*tokens, *self.older) if one.token is not None}
        if newest is not None:
            known.pop(newest.value, None)
        alive = sorted((one for one in known.values() if now < one.starts_at + self.usable_for), key=_starts_at)
        self.older = () if self.single else tuple(alive[1 - self.size :])

    def live(self, rejected: Collection[str], now: float) -> list[AccessToken]:
        """Return the older tokens that may be handed out, newest first."""
        return [
            one.token
            for one in reversed(self.older)
            if one.token is not None and one.token.value not in rejected and now < one.starts_at + self.usable_for
        ]

    def has_room(self, rejected: Collection[str], now: float) -> bool:
        """Return whether a further token may be asked for now, beside the current one.

        After the first one, not before the API has accepted the older one again: a new token might end it.
        """
        older = len(self.live(rejected, now))
        return not self.single and now >= self.grow_at and older + 1 < self.size and (self.proven or not older)

    def unproven(self, rejected: Collection[str], now: float) -> AccessToken | None:
        """Return an older token that the API has not accepted beside the newer one; None if there is no doubt."""
        return None if self.proven else next(iter(self.live(rejected, now)), None)

    def accept(self, token: AccessToken) -> None:
        """Note that the API accepted this token: if it is an older one, tokens live side by side."""
        if not self.proven and any(one.token is token for one in self.older):
            self.proven = True
            self.tell()

    def tell(self) -> None:
        """Tell the listeners that a token may be new, or that the pool may grow."""
        for listener in self.listeners:
            listener()

    def end(self, value: str) -> bool:
        """Give up the pool if the rejected token is one of it. Return whether it was."""
        if not any(one.token is not None and one.token.value == value for one in self.older):
            return False
        self.single, self.older = True, ()
        return True


def _starts_at(known: KeyTokens) -> float:
    return known.starts_at
