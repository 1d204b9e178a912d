"""What happens to the token, for logs and metrics; and a snapshot of where it stands."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from ..errors import TokenError

_log = logging.getLogger("truecaller_vbc")

State: TypeAlias = Literal["empty", "fresh", "stale", "expired"]


@attrs.frozen
class TokenMinted:
    """A token was bought. One mint of the quota is spent."""

    fingerprint: str
    generation: int
    expires_at: datetime
    mints_left: int


@attrs.frozen
class TokenAdopted:
    """A token that another session had minted was found in the store. Costs nothing."""

    fingerprint: str
    generation: int
    expires_at: datetime


@attrs.frozen
class MintFailed:
    """An attempt failed while callers had no token; they get `error` until its ``retry_at``."""

    error: TokenError


@attrs.frozen
class RefreshFailed:
    """A refresh ahead of time failed. The token at hand is served on; `next_refresh_at` may be None."""

    error: TokenError
    next_refresh_at: datetime | None


@attrs.frozen
class TokenRejected:
    """The API refused a token. `replaced` is False where a new one would not help."""

    fingerprint: str
    replaced: bool


@attrs.frozen
class StoreUnavailable:
    """The shared store failed; tokens are minted from this process's own ledger until it is back."""

    reason: str


@attrs.frozen
class StoreRecovered:
    """The shared store is back."""


TokenEvent: TypeAlias = (
    TokenMinted | TokenAdopted | MintFailed | RefreshFailed | TokenRejected | StoreUnavailable | StoreRecovered
)

_LEVELS: dict[type, int] = {
    TokenMinted: logging.INFO,
    TokenAdopted: logging.INFO,
    MintFailed: logging.WARNING,
    RefreshFailed: logging.WARNING,
    TokenRejected: logging.WARNING,
    StoreUnavailable: logging.WARNING,
    StoreRecovered: logging.INFO,
}


@attrs.frozen(kw_only=True)
class TokenStatus:
    """A snapshot of the holder; taking it costs no I/O.

    Args:
        state: ``"empty"`` no token yet; ``"fresh"``; ``"stale"`` still good and to be refreshed; ``"expired"``.
        fingerprint: of the token at hand, or None.
        generation: grows with every new token; 0 before the first.
        expires_at: of the token at hand, aware, or None.
        next_refresh_at: when the background refreshes; None while it rests.
        mints_in_window: mints spent in the last `TokenPolicy.mint_window`.
        mints_left: mints that may still be made now.
        retry_at: before this, callers without a token get `last_error` at once; None if they would not.
        last_error: the last failed attempt's error since the last success, or None.
    """

    state: State
    fingerprint: str | None
    generation: int
    expires_at: datetime | None
    next_refresh_at: datetime | None
    mints_in_window: int
    mints_left: int
    retry_at: datetime | None
    last_error: TokenError | None


@attrs.frozen
class LedgerEntry:
    """An attempt to mint.

    Args:
        at: when the server answered, or will have given up to; aware.
        outcome: ``"minted"``; ``"unknown"``, which counts, too; ``"refused"`` or ``"unsent"``, which do not.
        by: the host and the process that made it.
    """

    at: datetime
    outcome: str
    by: str


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Announcer:
    """Tells the user's callback and the log. A callback that raises is logged and changes nothing.

    The log gets an event of the same kind and cause once, until another kind comes between.
    """

    _on_event: Callable[[TokenEvent], object] | None
    _last: object = attrs.field(init=False, default=None)

    def __call__(self, event: TokenEvent) -> None:
        """Announce `event`."""
        error: object = getattr(event, "error", None)
        cause: tuple[type, type] = (type(event), type(error))
        level = _LEVELS[type(event)]
        if level == logging.INFO:
            self._last = None
        elif cause == self._last:
            level = logging.DEBUG
        else:
            self._last = cause
        _log.log(level, "%s", event)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            _log.exception("on_event raised; the token is not affected")
