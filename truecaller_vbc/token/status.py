"""Report the state of an account to people and programs. Pure."""

from __future__ import annotations

from datetime import datetime

from .clock import NEVER, as_datetime
from .events import LedgerEntry, LiveToken, State, TokenStatus
from .state import AccountState, fresh_copy


def snapshot(state: AccountState, now: float, shift: float, refresh_at: float) -> TokenStatus:
    """Return the status at `now`, on `Clock.now`; `shift` is the wall clock minus `now`."""
    current, failure = state.current, state.failure
    blocked = state.active_failure(now)
    account, key_id = state.identity()
    return TokenStatus(
        state=_state(state, now),
        fingerprint=current.token.fingerprint if current else None,
        generation=state.generation,
        expires_at=current.token.expires_at if current else None,
        next_refresh_at=next_refresh(refresh_at, shift),
        mints_in_window=state.ledger.spent(now),
        mints_left=state.mints_left(now),
        retry_at=blocked.error.retry_at if blocked else None,
        last_error=fresh_copy(failure.error) if failure else None,
        ready=state.usable(now) is not None or (blocked is None and state.mints_left(now) > 0),
        tokens=tuple(LiveToken(token.fingerprint, token.expires_at) for token in state.live(now)),
        account=account,
        key_id=key_id,
    )


def _state(state: AccountState, now: float) -> State:
    if state.current is None:
        return "empty"
    if state.usable(now) is None:
        return "expired"
    return "fresh" if now < state.current.refresh_after else "stale"


def entries(state: AccountState, now: float, shift: float) -> tuple[LedgerEntry, ...]:
    """Return the attempts of the last window."""
    attempts = state.ledger.pruned(now).attempts
    return tuple(LedgerEntry(as_datetime(a.at + shift), a.outcome.value, a.minted_by) for a in attempts)


def next_refresh(at: float, shift: float) -> datetime | None:
    """Return the time of the next refresh for people; None for `NEVER`."""
    return None if at == NEVER else as_datetime(at + shift)
