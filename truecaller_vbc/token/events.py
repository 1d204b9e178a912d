"""Define the events of a token for logs and metrics, and the snapshot that `VBCSession.status` returns."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypeVar

import attrs

from ..account import AccountEvent, AccountLog
from ..errors import TokenError
from ..serialization import Serializable

State: TypeAlias = Literal["empty", "fresh", "stale", "expired"]


@attrs.frozen
class TokenMinted(AccountEvent):
    """A token was minted, in so many `seconds`. One mint of the quota is spent."""

    fingerprint: str
    generation: int
    expires_at: datetime
    mints_left: int
    seconds: float = attrs.field(default=0.0, kw_only=True)

    def __str__(self) -> str:
        return f"minted token {self.fingerprint} in {self.seconds:.2f} s, {self.mints_left} mints left"


@attrs.frozen
class TokenAdopted(AccountEvent):
    """A token that another session had minted was found in the store. No mint is spent."""

    fingerprint: str
    generation: int
    expires_at: datetime

    def __str__(self) -> str:
        return f"adopted token {self.fingerprint} from the store"


@attrs.frozen
class MintFailed(AccountEvent):
    """An attempt failed while callers had no usable token. They get `error` until its ``retry_at``."""

    error: TokenError
    seconds: float = attrs.field(default=0.0, kw_only=True)

    def __str__(self) -> str:
        return f"no token was obtained: {self.error}"


@attrs.frozen
class RefreshFailed(AccountEvent):
    """A refresh failed. The current token stays in use; `next_refresh_at` is None if no refresh is planned."""

    error: TokenError
    next_refresh_at: datetime | None
    seconds: float = attrs.field(default=0.0, kw_only=True)

    def __str__(self) -> str:
        return f"the token was not refreshed, and the current one stays in use: {self.error}"


@attrs.frozen
class TokenRejected(AccountEvent):
    """The API rejected a token. `replaced` is False if a new token would not help or cannot be minted now."""

    fingerprint: str
    replaced: bool

    def __str__(self) -> str:
        return f"the API rejected token {self.fingerprint}, which is {'' if self.replaced else 'not '}replaced"


@attrs.frozen
class PoolEnded(AccountEvent):
    """The API rejected an older token of a pool and accepted the newest: one token is used for 24 lifetimes."""

    fingerprint: str

    def __str__(self) -> str:
        return f"a new token has ended the older token {self.fingerprint}: the account uses one token for a day"


@attrs.frozen
class StoreUnavailable(AccountEvent):
    """The shared store failed. Until it works again, tokens are minted within the ledger of this process."""

    reason: str

    def __str__(self) -> str:
        return f"the token store failed ({self.reason}): tokens are minted for this process alone until it works again"


@attrs.frozen
class StoreRecovered(AccountEvent):
    """The shared store works again."""

    def __str__(self) -> str:
        return "the token store works again"


TokenEvent: TypeAlias = (
    TokenMinted
    | TokenAdopted
    | MintFailed
    | RefreshFailed
    | TokenRejected
    | PoolEnded
    | StoreUnavailable
    | StoreRecovered
)

_EventT = TypeVar("_EventT", bound=AccountEvent)
_LEVELS: dict[type, int] = {
    TokenMinted: logging.INFO,
    TokenAdopted: logging.INFO,
    MintFailed: logging.WARNING,
    RefreshFailed: logging.WARNING,
    TokenRejected: logging.WARNING,
    PoolEnded: logging.WARNING,
    StoreUnavailable: logging.WARNING,
    StoreRecovered: logging.INFO,
}


@attrs.frozen
class LiveToken(Serializable):
    """A token that may be sent, in `TokenStatus.tokens`."""

    fingerprint: str
    expires_at: datetime


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
        ready: whether a token is usable, or nothing forbids minting one now; for readiness probes.
        account: a short hash of the account's ID; ``""`` until the credentials are known.
        key_id: of the API key; ``""`` until the credentials are known.
        calls_waiting: typed calls that wait for their turn under the rates.
        tokens: all tokens that may be sent, newest first; more than one only with ``TokenPolicy(tokens=...)``.
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
    ready: bool = False
    account: str = ""
    key_id: str = ""
    calls_waiting: int = 0
    tokens: tuple[LiveToken, ...] = ()


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
    """Passes events to the user's callbacks and to the log. An exception of a callback is only logged.

    A warning that repeats the kind and cause of the one before is logged at DEBUG.
    """

    _on_event: Callable[[TokenEvent], object] | None
    _log: AccountLog
    listeners: tuple[Callable[[Any], object], ...] = attrs.field(init=False, default=())
    _last: object = attrs.field(init=False, default=None)

    def __call__(self, event: TokenEvent) -> None:
        """Announce `event`."""
        event = self._named(event)
        error: object = getattr(event, "error", None)
        cause: tuple[type, type] = (type(event), type(error))
        level = _LEVELS[type(event)]
        if level == logging.INFO:
            self._last = None
        elif cause == self._last:
            level = logging.DEBUG
        else:
            self._last = cause
        if self._log.isEnabledFor(level):
            fields = {f"vbc_{name}": value for name, value in attrs.asdict(event, recurse=False).items()}
            self._log.log(level, "%s", event, extra=fields)
        if self._on_event is not None:
            self._tell(self._on_event, event)
        self._tell_listeners(event)

    def tell_listeners(self, event: AccountEvent) -> None:
        """Pass an event to the listeners only."""
        self._tell_listeners(self._named(event))

    def _named(self, event: _EventT) -> _EventT:
        account, key_id = self._log.account.identity()
        return attrs.evolve(event, account=account, key_id=key_id)

    def _tell_listeners(self, event: AccountEvent) -> None:
        for listener in self.listeners:
            self._tell(listener, event)

    def _tell(self, callback: Callable[[Any], object], event: AccountEvent) -> None:
        try:
            callback(event)
        except BaseException:
            # Also a CancelledError of a future that it looked at, or a GeneratorExit: waiting callers must not see it.
            self._log.exception("on_event raised; the token is not affected")
