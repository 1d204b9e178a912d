"""Describe tokens with what this process knows of them."""

from __future__ import annotations

import attrs

from .clock import NEVER
from .model import AccessToken


@attrs.define(weakref_slot=False)
class CurrentToken:
    """A token and what this process decided about it.

    Args:
        token: for the callers.
        generation: grows with every new token.
        refresh_after: when it becomes stale; drawn once.
        unusable_after: when it stops being returned to callers.
        obtained_at: start of `TokenPolicy.rejection_grace`.
        adopted: found in the store instead of minted.
        repeated: minted, but the server returned the same token again.
        accepted: whether the API has accepted it.
        replacement: minted because the API rejected the one before.
    """

    token: AccessToken
    generation: int
    refresh_after: float
    unusable_after: float
    obtained_at: float = 0.0
    adopted: bool = False
    repeated: bool = False
    accepted: bool = False
    replacement: bool = False


@attrs.frozen(weakref_slot=False)
class KeyTokens:
    """The newest known token of one API key.

    Args:
        generation: of the key's newest token; it grows with each.
        token: the token; None if none is known.
        starts_at: when its life began, on `Clock.now`.
        stamp: the same as it is in the shared document; infinity if it is not there yet.
        age: in seconds, as the server stated it, of the last minted token that was more than a minute old.
    """

    generation: int = 0
    token: AccessToken | None = None
    starts_at: float = 0.0
    stamp: float = NEVER
    age: float = 0.0
