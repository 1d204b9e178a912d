"""What is known: the ledger, the last failure and the tokens seen; and its form as a document. No I/O.

Times here are on `Clock.now`, which nobody can step; those in a document are of the wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypeVar

import attrs

from ..credentials import Credentials
from ..errors import CredentialsRejectedError, TokenEndpointError, TokenError
from .clock import Clock, aware
from .document import Document, KeyState, StoredAttempt, StoredFailure, StoredToken, short_hash
from .endpoint import Grant
from .failure import Failure, backoff, doubled, key_hash
from .ledger import Attempt, Ledger, Outcome
from .model import AccessToken
from .policy import TokenPolicy

_K = TypeVar("_K")
_T = TypeVar("_T")
_REMEMBERED: Final = 32
_NO_DOCUMENT: Final = Document()
_NOTHING_KNOWN: Final = KeyState()
_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})
_SHARED_ERRORS: Final = {kind.__name__: kind for kind in (CredentialsRejectedError, TokenEndpointError)}


@attrs.frozen
class Issued:
    """A token that was come by.

    Args:
        token: for the callers.
        starts_at: the moment from which its life counts.
        generation: grows with every new token.
        adopted: found in the store instead of minted.
        repeated: the server handed out the very token that it had handed out before.
    """

    token: AccessToken
    starts_at: float
    generation: int
    adopted: bool = False
    repeated: bool = False


class Books:
    """One account's books, as this process keeps them.

    Args:
        policy: the numbers.
        clock: the only time it knows.
        shared: whether there is a document, in which others read and write.
    """

    __slots__ = (
        "_clock",
        "_document",
        "_entered_at",
        "_latest_value",
        "_policy",
        "_rejected",
        "_shared",
        "_stamps",
        "_starts",
        "_states",
        "failure",
        "generation",
        "ledger",
    )

    def __init__(self, policy: TokenPolicy, clock: Clock, *, shared: bool) -> None:
        self._policy = policy
        self._clock = clock
        self._shared = shared
        self.ledger = Ledger(policy.mint_window.total_seconds(), policy.max_mints)
        self.failure: Failure | None = None
        self.generation = 0
        self._document = _NO_DOCUMENT
        # Tuples, since one entry is the rule and an idle session should cost little.
        self._states: tuple[tuple[str, KeyState], ...] = ()
        self._starts: tuple[tuple[str, float], ...] = ()
        self._rejected: tuple[str, ...] = ()
        self._latest_value: str | None = None
        # What a stamp in the document was taken for when it was new: read again after somebody stepped the wall
        # clock, it would mean another time, and again another, and a wait might never end.
        self._entered_at: Mapping[str, float] = _NOTHING
        # All that were written or read lately, not the newest alone: a write may fail, and the old one is read again.
        self._stamps: tuple[tuple[StoredFailure | float, float], ...] = ()

    # What became of an attempt

    def enter(self, attempt: Attempt) -> None:
        """Enter an attempt before it is made, or what came of it."""
        now = self._clock.now()
        if self._shared:
            recent = {id_: at for id_, at in self._entered_at.items() if at + self.ledger.window > now}
            self._entered_at = {**recent, **{a.id: a.at for a in self.ledger.attempts}}
        self.ledger = self.ledger.pruned(now).put(attempt)

    def grant(self, grant: Grant, credentials: Credentials, sent: float) -> Issued | None:
        """Enter a minted token; None where it has already ended by the server's own account."""
        # The same value again is the same token: it does not grow younger by being handed out again.
        starts_at = min(sent - grant.age, dict(self._starts).get(grant.value, sent))
        now = self._clock.now()
        if now >= starts_at + self._policy.usable_for.total_seconds():
            return None
        # As the wall clock stands now: somebody may have set it since the request was sent.
        shift = self._clock.wall() - now
        ends_at = aware(starts_at + shift + self._policy.lifetime.total_seconds())
        token = AccessToken(grant.value, grant.created_at or aware(sent + shift), ends_at)
        repeated = grant.value == self._latest_value
        if not repeated:
            self.generation += 1
        self._know(grant.value, starts_at)
        stored = StoredToken(token.value, token.created_at.isoformat(), starts_at + shift)
        self._put_state(credentials, KeyState(self.generation, stored))
        return Issued(token, starts_at, self.generation, repeated=repeated)

    def fail(
        self,
        error: TokenError,
        *,
        retry_after: float | None = None,
        shared: bool = True,
        credentials: Credentials | None = None,
    ) -> TokenError:
        """Enter a failure, so that everybody gets it until its time has come. Returns it, dated."""
        count = self.failure.count + 1 if self.failure and type(self.failure.error) is type(error) else 1
        rejected = isinstance(error, CredentialsRejectedError)
        if rejected:
            wait = doubled(self._policy.error_memory, count)
        elif retry_after is not None:
            wait = retry_after
        else:
            wait = backoff(self._policy.retry_first, count, self._policy.retry_most)
        until = self._clock.now() + min(wait, self.ledger.window)
        api_key = key_hash(credentials) if rejected and credentials else None
        self.failure = Failure(self._dated(error, until), until, count, api_key, shared)
        return error

    def fail_for_quota(self, error: TokenError, free_at: float) -> TokenError:
        """As `fail`, but to be looked at again soon: by then another process may have stored a token."""
        until = min(free_at, self._clock.now() + self._policy.retry_most.total_seconds())
        count = self.failure.count if self.failure else 0
        self.failure = Failure(self._dated(error, free_at), until, count, shared=False)
        return error

    def _dated(self, error: TokenError, until: float) -> TokenError:
        error.retry_at = aware(self._clock.wall() + until - self._clock.now())
        return error

    def reject(self, value: str) -> None:
        """A value that the API refused: it is never adopted again."""
        self._rejected = (*(other for other in self._rejected if other != value), value)[-_REMEMBERED:]

    # From and to the document

    def absorb(self, document: Document, credentials: Credentials) -> None:
        """Learn what other processes wrote; of the token, keep the newer one."""
        now = self._clock.now()
        shift = now - self._clock.wall()
        latest = now + self._policy.lease.total_seconds()
        known = {**self._entered_at, **{a.id: a.at for a in self.ledger.attempts}}
        entered_at = {a.id: known.get(a.id, min(a.at + shift, latest)) for a in document.attempts}
        attempts = tuple(Attempt(a.id, entered_at[a.id], _outcome(a.outcome), a.by) for a in document.attempts)
        full_until = now
        if document.full_until is not None:
            full_until = self._meant(document.full_until, min(document.full_until + shift, now + self.ledger.window))
        theirs = attrs.evolve(self.ledger, attempts=attempts, full_until=full_until)
        self.ledger = self.ledger.merged(theirs).pruned(now)
        self._entered_at = entered_at
        self._document = document
        state = _state_of(document, credentials)
        mine = self._state(credentials)
        # A lower generation: the store missed ours, or lost it. Where it lost it, others may have begun anew since.
        if state.generation >= mine.generation or self._began_later(state, mine):
            self._put_state(credentials, attrs.evolve(state, generation=max(state.generation, mine.generation)))
        self.generation = max(self.generation, state.generation)
        self._absorb_failure(state.failure, credentials, shift)

    def _meant(self, stamp: StoredFailure | float, at: float) -> float:
        """The time that a stamp of the document means: `at`, unless it was taken for another one before."""
        at = dict(self._stamps).get(stamp, at)
        self._stamps = _remembered(self._stamps, stamp, at)
        return at

    def _absorb_failure(self, stored: StoredFailure | None, credentials: Credentials, shift: float) -> None:
        if stored is None or stored.kind not in _SHARED_ERRORS:
            return
        until = self._meant(stored, min(stored.retry_at + shift, self._clock.now() + self.ledger.window))
        error = self._dated(_SHARED_ERRORS[stored.kind](stored.message), until)
        failure = Failure(error, until, stored.count, stored.api_key)
        if failure.binds(credentials) and (self.failure is None or self.failure.until < until):
            self.failure = failure

    def adopt(self, credentials: Credentials, held: str | None, most_age: float) -> Issued | None:
        """The document's token, if it is another than `held`, no older than `most_age` and was never refused."""
        state = self._state(credentials)
        stored = state.token
        if stored is None or stored.value in self._rejected or stored.value == held:
            return None
        now, wall = self._clock.now(), self._clock.wall()
        starts_at = self._starts_at(stored)
        if now >= starts_at + most_age:
            return None
        self._know(stored.value, starts_at)
        created_at = _parsed(stored.created_at) or aware(stored.starts_at)
        ends_at = aware(wall + starts_at + self._policy.lifetime.total_seconds() - now)
        token = AccessToken(stored.value, created_at, ends_at)
        return Issued(token, starts_at, state.generation, adopted=True)

    def _starts_at(self, stored: StoredToken) -> float:
        # A stamp that lies in the future counts from our first sight of it: somebody's clock was stepped.
        age = max(0.0, self._clock.wall() - stored.starts_at)
        return dict(self._starts).get(stored.value, self._clock.now() - age)

    def _began_later(self, state: KeyState, mine: KeyState) -> bool:
        if state.token is None or mine.token is None:
            return False
        return self._starts_at(state.token) > self._starts_at(mine.token)

    def compose(self, credentials: Credentials) -> Document:
        """The document to write: what was read, with what is known now."""
        now, wall = self._clock.now(), self._clock.wall()
        shift = wall - now
        ledger = self.ledger.pruned(now)
        state = attrs.evolve(self._state(credentials), failure=self._failure_to_store(credentials))
        lifetime = self._policy.lifetime.total_seconds()
        # Keys that are rotated out of use leave nothing behind: the document would grow over what is read of one.
        others = {name: known for name, known in self._document.keys.items() if _matters(known, wall, lifetime)}
        full_until = ledger.full_until + shift if ledger.full_until > now else None
        if full_until is not None:
            self._meant(full_until, ledger.full_until)
        return attrs.evolve(
            self._document,
            revision=self._document.revision + 1,
            attempts=[StoredAttempt(a.id, a.at + shift, a.outcome.value, a.by) for a in ledger.attempts],
            full_until=full_until,
            keys={**others, short_hash(credentials.key_id): state},
        )

    def written(self, document: Document) -> None:
        """The store kept `document`."""
        self._document = document
        self._entered_at = _NOTHING

    def put_away(self) -> None:
        """Done with the store for now. What is in it will be read again; only our own token is kept in mind."""
        self._document = _NO_DOCUMENT

    def _failure_to_store(self, credentials: Credentials) -> StoredFailure | None:
        theirs = _state_of(self._document, credentials).failure
        if theirs is not None and theirs.api_key not in (None, key_hash(credentials)):
            return theirs  # about another API key, and none of ours
        mine = self.failure
        if mine is None or not mine.shared or mine.error.retry_at is None:
            return None
        retry_at = mine.error.retry_at.timestamp()
        stored = StoredFailure(type(mine.error).__name__, str(mine.error), retry_at, mine.count, mine.api_key)
        self._meant(stored, mine.until)
        return stored

    def _state(self, credentials: Credentials) -> KeyState:
        return dict(self._states).get(credentials.key_id, _NOTHING_KNOWN)

    def _put_state(self, credentials: Credentials, state: KeyState) -> None:
        self._states = _remembered(self._states, credentials.key_id, state)

    def _know(self, value: str, starts_at: float) -> None:
        self._starts = _remembered(self._starts, value, starts_at)
        self._latest_value = value
        self.failure = None


def _state_of(document: Document, credentials: Credentials) -> KeyState:
    return document.keys.get(short_hash(credentials.key_id), _NOTHING_KNOWN)


def _matters(state: KeyState, wall: float, lifetime: float) -> bool:
    """Whether there is a token that may still live, or a failure that still binds, or did a moment ago."""
    token, failure = state.token, state.failure
    return (token is not None and wall < token.starts_at + lifetime) or (
        failure is not None and wall < failure.retry_at + lifetime
    )


def _outcome(name: str) -> Outcome:
    try:
        return Outcome(name)
    except ValueError:
        return Outcome.UNKNOWN


def _parsed(stamp: str) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _remembered(pairs: tuple[tuple[_K, _T], ...], name: _K, value: _T) -> tuple[tuple[_K, _T], ...]:
    """The pairs with this one as the latest, in place of an earlier one of its name."""
    return (*(pair for pair in pairs if pair[0] != name), (name, value))[-_REMEMBERED:]
