"""Define the events of a token for logs and metrics, and the snapshot that `VBCSession.status` returns."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeAlias

import attrs

from ..errors import TokenError
from ..serialization import Serializable

_log = logging.getLogger("truecaller_vbc")

State: TypeAlias = Literal["empty", "fresh", "stale", "expired"]


@attrs.frozen
class TokenMinted(Serializable):
    """A token was minted. One mint of the quota is spent."""

    fingerprint: str
    generation: int
    expires_at: datetime
    mints_left: int


@attrs.frozen
class TokenAdopted(Serializable):
    """A token that another session had minted was found in the store. No mint is spent."""

    fingerprint: str
    generation: int
    expires_at: datetime


@attrs.frozen
class MintFailed(Serializable):
    """An attempt failed while callers had no usable token. They get `error` until its ``retry_at``."""

    error: TokenError


@attrs.frozen
class RefreshFailed(Serializable):
    """A refresh failed. The current token stays in use; `next_refresh_at` is None if no refresh is planned."""

    error: TokenError
    next_refresh_at: datetime | None


@attrs.frozen
class TokenRejected(Serializable):
    """The API rejected a token. `replaced` is False if a new token would not help or cannot be minted now."""

    fingerprint: str
    replaced: bool


@attrs.frozen
class StoreUnavailable(Serializable):
    """The shared store failed. Until it works again, tokens are minted within the ledger of this process."""

    reason: str


@attrs.frozen
class StoreRecovered(Serializable):
    """The shared store works again."""


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
class TokenStatus(Serializable):
    """A snapshot of the token's state. Taking it needs no I/O.

    Args:
        state: ``"empty"``: no token; ``"fresh"``; ``"stale"``: usable, to be refreshed; ``"expired"``.
        fingerprint: of the current token, or None.
        generation: grows with every new token; 0 before the first.
        expires_at: of the current token, aware, or None.
        next_refresh_at: when the background refreshes; None if no refresh is planned.
        mints_in_window: mints spent in the last `TokenPolicy.mint_window`.
        mints_left: mints that may still be made now.
        retry_at: until then callers without a token get `last_error` at once; None if a new attempt would be made.
        last_error: the error of the last failed attempt since the last success, or None.
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
class LedgerEntry(Serializable):
    """An attempt to mint.

    Args:
        at: aware; when the server answered, or the deadline of the attempt until then.
        outcome: ``"minted"`` or ``"unknown"``, which count; ``"refused"`` or ``"unsent"``, which do not.
        by: host and process ID of the session that made it.
    """

    at: datetime
    outcome: str
    by: str


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Announcer:
    """Passes events to the user's callback and to the log. An exception of the callback is only logged.

    A warning that repeats the kind and cause of the one before is logged at DEBUG.
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
        except BaseException:
            # Also a CancelledError of a future that it looked at, or a GeneratorExit: waiting callers must not see it.
            _log.exception("on_event raised; the token is not affected")
