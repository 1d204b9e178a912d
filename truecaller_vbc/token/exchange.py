"""Convert the state of an account to the shared document, and merge what other processes wrote there.

Pure. Times in a document are on its own clock (`clock.DocumentClock`); times in the state are on `Clock.now`. What a
foreign time stamp means is decided here and remembered in `AccountState.times`. A stamp that cannot be true is dropped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import attrs

from ..errors import CredentialsRejectedError, TokenEndpointError
from .clock import DocumentClock, as_datetime, machine_by_wall
from .document import Document, KeyState, StoredAttempt, StoredClock, StoredFailure, StoredToken, short_hash
from .known_tokens import KeyTokens
from .ledger import Attempt, Outcome
from .model import AccessToken, fingerprint
from .policy import TokenPolicy
from .state import AccountState, Failure, key_hash

_NO_DOCUMENT: Final = Document()
_NOTHING_STORED: Final = KeyState()
_SHARED_ERRORS: Final = {kind.__name__: kind for kind in (CredentialsRejectedError, TokenEndpointError)}
_TOLERANCE: Final = 60.0
_TOLERANCE_SHARE: Final = 1 / 30
_MAX_GENERATION: Final = 2**50
_MAX_COUNT: Final = 64
_MAX_CLOCKS: Final = 16


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Exchange:
    """Merges documents into a state, and makes documents of it.

    Args:
        state: of the account; its `credentials` say which key's token and failure are meant.
        policy: limits how far ahead a foreign time stamp is believed.
        machine: names this machine's clock if that is known, see `clock.machine_id`.

    Attributes:
        doubtful: whether the document that was read last has values that cannot be true, and must be written again.
    """

    _state: AccountState
    _policy: TokenPolicy
    _machine: str | None = None
    doubtful: bool = attrs.field(init=False, default=False)
    _document: Document = attrs.field(init=False, default=_NO_DOCUMENT)
    _clock: DocumentClock = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._clock = DocumentClock(min(_TOLERANCE, self._window * _TOLERANCE_SHARE), self._state.log)

    @property
    def _window(self) -> float:
        return self._policy.mint_window.total_seconds()

    def merge_document(self, document: Document, now: float, shift: float, store_time: float | None = None) -> None:
        """Add to the state what other processes wrote. Of two tokens the newer one is kept.

        Args:
            document: as it was read.
            now: on `Clock.now`.
            shift: the wall clock minus `now`.
            store_time: the time on the store's own clock; None if it has none.
        """
        self._document = document
        machine = self._named(shift)
        reading = next((clock for clock in document.clocks if clock.machine == machine), None)
        # The last writer wrote both times at once.
        torn = reading is not None and reading is document.clocks[-1] and reading.at != document.written_at
        reading = None if torn else reading
        self._clock.read(now, now + shift, written_at=document.written_at, reading=reading, store=store_time)
        self.doubtful = torn or self._clock.unsure or self._clock.wrong
        self._merge_ledger(document, now)
        stored = document.keys.get(self._key, _NOTHING_STORED)
        known = self._state.key_tokens.generation
        self._state.merge_tokens(self._known_tokens(stored, now, shift), now)
        self._merge_pool(stored, now, shift, is_newer=stored.generation > known)
        if stored.failure is not None and stored.failure.kind in _SHARED_ERRORS:
            self._merge_failure(stored.failure, now, shift)

    def _merge_ledger(self, document: Document, now: float) -> None:
        state, times, shift = self._state, self._state.times, self._shift
        # An attempt lasts no longer than a lease.
        latest = now + self._policy.lease.total_seconds() + self._clock.tolerance
        for attempt in state.ledger.attempts:
            times.fix(attempt.id, attempt.at)
        attempts = tuple(
            Attempt(a.id, times.local(a.id, a.at - shift), _outcome(a.outcome), a.by)
            for a in document.attempts
            if times.get(a.id, a.at - shift) <= latest
        )
        full_until = now
        if document.full_until is not None:
            until = times.get(document.full_until, document.full_until - shift)
            if self._may_last_until(until, now):
                full_until = times.local(document.full_until, until)
            else:
                self.doubtful = True
        self.doubtful |= len(attempts) < len(document.attempts)
        state.merge_ledger(attempts, full_until, now)

    def _merge_pool(self, stored: KeyState, now: float, shift: float, *, is_newer: bool) -> None:
        if (pool := self._state.pool) is None:
            return
        if is_newer:
            pool.older = ()  # what the process that has a newer token left out may have been revoked
        if stored.single_until is not None:
            until = stored.single_until - self._shift
            if self._may_last_until(until, now, longest=pool.longest_single):
                pool.single_until = max(pool.single_until, until)
            else:
                self.doubtful = True
        older = [self._known_tokens(KeyState(token=token), now, shift) for token in stored.older]
        pool.add(older, self._state.key_tokens.token, self._state.rejections.values, now)

    def _may_last_until(self, until: float, now: float, *, longest: float | None = None) -> bool:
        """Return whether a wait until this time is believed.

        None is longer than a window, or than `longest` seconds. While the time of the document is not sure, none is
        believed that has not ended: that costs at most one refused request.
        """
        most = self._window if longest is None else longest
        return until <= (now if self._clock.unsure else now + most + self._clock.tolerance)

    def _known_tokens(self, stored: KeyState, now: float, shift: float) -> KeyTokens:
        generation = _bounded(stored.generation)
        if (token := stored.token) is None:
            return KeyTokens(generation)
        starts_at = self._state.times.get(fingerprint(token.value), token.starts_at - self._shift)
        if starts_at > now + self._window:
            self.doubtful = True
            return KeyTokens(generation)
        if starts_at > now:
            # A stamp in the future counts from when it is first read.
            self.doubtful, starts_at = True, now
        created_at = _parse_timestamp(token.created_at) or as_datetime(token.starts_at)
        ends_at = as_datetime(starts_at + shift + self._policy.lifetime.total_seconds())
        access = AccessToken(token.value, created_at, ends_at)
        return KeyTokens(generation, access, starts_at, token.starts_at, age=token.age)

    def _merge_failure(self, stored: StoredFailure, now: float, shift: float) -> None:
        until = self._state.times.get(stored, stored.retry_at - self._shift)
        if not self._may_last_until(until, now):
            self.doubtful = True
            return
        until = self._state.times.local(stored, until)
        error = _SHARED_ERRORS[stored.kind](stored.message, retry_at=as_datetime(until + shift))
        self._state.merge_failure(Failure(error, until, min(stored.count, _MAX_COUNT), stored.api_key))

    def to_document(self, now: float, shift: float) -> Document:
        """Return the document that was read last, updated with what is known now.

        Args:
            now: on `Clock.now`.
            shift: the wall clock minus `now`.
        """
        if self._clock.shift is None:
            self._clock.read(now, now + shift, written_at=None, reading=None, store=None)
        ledger = self._state.ledger.pruned(now)
        at = now + self._shift
        ours = self._stored_key(now, at)
        # A document with every key that ever was would grow beyond what can be read.
        keys = self._document.keys.items()
        others = {name: stored for name, stored in keys if self._is_needed(stored, at)}
        full_until = ledger.full_until + self._shift if ledger.full_until > now else None
        if full_until is not None:
            self._state.times.local(full_until, ledger.full_until)
        clock = StoredClock(self._named(shift), now, at)
        clocks = [known for known in self._document.clocks if known.machine != clock.machine]
        return attrs.evolve(
            self._document,
            revision=self._document.revision + 1,
            attempts=[StoredAttempt(a.id, a.at + self._shift, a.outcome.value, a.minted_by) for a in ledger.attempts],
            full_until=full_until,
            keys={**others, self._key: ours},
            written_at=at,
            clocks=[*clocks, clock][-_MAX_CLOCKS:],
        )

    def document_saved(self, document: Document) -> None:
        """Note that the store has this document now."""
        self._document = document

    def forget_document(self) -> None:
        """Free the document, which is read again before the next use."""
        self._document = _NO_DOCUMENT

    def _stored_key(self, now: float, at: float) -> KeyState:
        known, pool = self._state.key_tokens, self._state.pool
        theirs = self._document.keys.get(self._key, _NOTHING_STORED)
        older, single_until = theirs.older, theirs.single_until  # those of processes that have a pool
        if pool is not None:
            older = tuple(token for one in pool.trusted if (token := self._stored_token(one)) is not None)
            single_until = pool.single_until + self._shift if now < pool.single_until else None
        elif theirs.token is not None and theirs.token.value in self._state.rejections.values:
            older = ()  # they may have been revoked together
        failure = self._stored_failure(theirs.failure, at)
        return KeyState(known.generation, self._stored_token(known), failure, older, single_until)

    def _stored_token(self, known: KeyTokens) -> StoredToken | None:
        if known.token is None:
            return None
        # The stamp as it was written first: converted by another clock, an error of that clock would spread.
        starts_at = min(known.stamp, known.starts_at + self._shift)
        return StoredToken(known.token.value, known.token.created_at.isoformat(), starts_at, known.age)

    def _stored_failure(self, theirs: StoredFailure | None, at: float) -> StoredFailure | None:
        if theirs is not None and theirs.api_key not in (None, key_hash(self._state.credentials)):
            # It concerns another API key, which must still rest.
            return theirs if self._is_possible(theirs.retry_at, at) else None
        ours = self._state.failure
        if ours is None or not ours.shared or ours.error.retry_at is None:
            return None
        retry_at, count = ours.until + self._shift, min(ours.count, _MAX_COUNT)
        stored = StoredFailure(type(ours.error).__name__, str(ours.error), retry_at, count, ours.api_key)
        self._state.times.local(stored, ours.until)
        return stored

    def _is_needed(self, stored: KeyState, at: float) -> bool:
        """Return whether another key has a token or a failure that has not ended, and that can be true."""
        token, failure = stored.token, stored.failure
        since = at - self._policy.lifetime.total_seconds()
        lives = token is not None and token.starts_at > since and self._is_possible(token.starts_at, at)
        rests = failure is not None and failure.retry_at > since and self._is_possible(failure.retry_at, at)
        return lives or rests

    def _is_possible(self, stamp: float, at: float) -> bool:
        return stamp <= at + self._window + self._clock.tolerance

    @property
    def _shift(self) -> float:
        assert self._clock.shift is not None  # noqa: S101 - read first
        return self._clock.shift

    def _named(self, shift: float) -> str:
        return self._machine or machine_by_wall(shift)

    @property
    def _key(self) -> str:
        assert self._state.credentials is not None  # noqa: S101 - the key of the document is made of them
        return short_hash(self._state.credentials.key_id)


def _bounded(generation: int) -> int:
    """Return a generation that can still grow; one that no sequence of mints reaches counts as 0."""
    return generation if generation < _MAX_GENERATION else 0


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
