"""Convert the state of an account to the shared document, and merge what other processes wrote there.

Pure. Times in a document are by the wall clock of the process that wrote them; times in the state are on `Clock.now`.
What a foreign time stamp means is decided here and remembered in `AccountState.times`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import attrs

from ..errors import CredentialsRejectedError, TokenEndpointError
from .clock import as_datetime
from .document import Document, KeyState, StoredAttempt, StoredFailure, StoredToken, short_hash
from .ledger import Attempt, Outcome
from .model import AccessToken, fingerprint
from .policy import TokenPolicy
from .state import AccountState, Failure, KeyTokens, key_hash

_NO_DOCUMENT: Final = Document()
_NOTHING_STORED: Final = KeyState()
_SHARED_ERRORS: Final = {kind.__name__: kind for kind in (CredentialsRejectedError, TokenEndpointError)}


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Exchange:
    """Merges documents into a state, and makes documents of it.

    Args:
        state: of the account; its `credentials` say which key's token and failure are meant.
        policy: limits how far ahead a foreign time stamp is believed.
    """

    _state: AccountState
    _policy: TokenPolicy
    _document: Document = attrs.field(init=False, default=_NO_DOCUMENT)

    def merge_document(self, document: Document, now: float, shift: float) -> None:
        """Add to the state what other processes wrote. Of two tokens the newer one is kept."""
        self._document = document
        self._merge_ledger(document, now, shift)
        stored = document.keys.get(self._key, _NOTHING_STORED)
        self._state.merge_tokens(self._known_tokens(stored, now, shift))
        if stored.failure is not None and stored.failure.kind in _SHARED_ERRORS:
            self._merge_failure(stored.failure, now, shift)

    def _merge_ledger(self, document: Document, now: float, shift: float) -> None:
        state, times = self._state, self._state.times
        # An attempt lasts no longer than a lease, so a stamp further ahead comes from a wrong clock.
        latest = now + self._policy.lease.total_seconds()
        for attempt in state.ledger.attempts:
            times.fix(attempt.id, attempt.at)
        attempts = tuple(
            Attempt(a.id, times.local(a.id, min(a.at - shift, latest)), _outcome(a.outcome), a.by)
            for a in document.attempts
        )
        full_until = now
        if document.full_until is not None:
            until = min(document.full_until - shift, now + state.ledger.window)
            full_until = times.local(document.full_until, until)
        state.merge_ledger(attempts, full_until, now)

    def _known_tokens(self, stored: KeyState, now: float, shift: float) -> KeyTokens:
        if (token := stored.token) is None:
            return KeyTokens(stored.generation)
        # A stamp in the future counts from when it is first read: the clock of its writer was wrong, or ours is.
        starts_at = self._state.times.get(fingerprint(token.value), min(now, token.starts_at - shift))
        created_at = _parse_timestamp(token.created_at) or as_datetime(token.starts_at)
        ends_at = as_datetime(starts_at + shift + self._policy.lifetime.total_seconds())
        return KeyTokens(stored.generation, AccessToken(token.value, created_at, ends_at), starts_at, token.starts_at)

    def _merge_failure(self, stored: StoredFailure, now: float, shift: float) -> None:
        until = min(stored.retry_at - shift, now + self._state.ledger.window)
        until = self._state.times.local(stored, until)
        error = _SHARED_ERRORS[stored.kind](stored.message, retry_at=as_datetime(until + shift))
        self._state.merge_failure(Failure(error, until, stored.count, stored.api_key))

    def to_document(self, now: float, shift: float) -> Document:
        """Return the document that was read last, updated with what is known now."""
        ledger = self._state.ledger.pruned(now)
        ours = self._stored_key()
        # A document with every key that ever was would grow beyond what can be read.
        since = now + shift - self._policy.lifetime.total_seconds()
        others = {name: stored for name, stored in self._document.keys.items() if _is_needed(stored, since)}
        full_until = ledger.full_until + shift if ledger.full_until > now else None
        if full_until is not None:
            self._state.times.local(full_until, ledger.full_until)
        return attrs.evolve(
            self._document,
            revision=self._document.revision + 1,
            attempts=[StoredAttempt(a.id, a.at + shift, a.outcome.value, a.minted_by) for a in ledger.attempts],
            full_until=full_until,
            keys={**others, self._key: ours},
        )

    def document_saved(self, document: Document) -> None:
        """Note that the store has this document now."""
        self._document = document

    def forget_document(self) -> None:
        """Free the document, which is read again before the next use."""
        self._document = _NO_DOCUMENT

    def _stored_key(self) -> KeyState:
        known, token = self._state.key_tokens, None
        if known.token is not None:
            # The stamp as it was written first: converted by this machine's clock, a wrong clock would spread.
            token = StoredToken(known.token.value, known.token.created_at.isoformat(), known.stamp)
        return KeyState(known.generation, token, self._stored_failure())

    def _stored_failure(self) -> StoredFailure | None:
        theirs = self._document.keys.get(self._key, _NOTHING_STORED).failure
        if theirs is not None and theirs.api_key not in (None, key_hash(self._state.credentials)):
            return theirs  # it concerns another API key, which must still rest
        ours = self._state.failure
        if ours is None or not ours.shared or ours.error.retry_at is None:
            return None
        retry_at = ours.error.retry_at.timestamp()
        stored = StoredFailure(type(ours.error).__name__, str(ours.error), retry_at, ours.count, ours.api_key)
        self._state.times.local(stored, ours.until)
        return stored

    @property
    def _key(self) -> str:
        assert self._state.credentials is not None  # noqa: S101 - the key of the document is made of them
        return short_hash(self._state.credentials.key_id)


def _is_needed(stored: KeyState, since: float) -> bool:
    """Return whether a key has a token that began, or a failure that ended, after `since`."""
    token, failure = stored.token, stored.failure
    return (token is not None and token.starts_at > since) or (failure is not None and failure.retry_at > since)


def _outcome(name: str) -> Outcome:
    try:
        return Outcome(name)
    except ValueError:
        return Outcome.UNKNOWN


def _parse_timestamp(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
