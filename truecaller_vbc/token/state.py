"""Hold all that is known of one account, and decide whether to serve a token, wait, or mint.

Pure: methods take the time as `now` (on `Clock.now`) and do no I/O. `shift` is the wall clock minus `now`: it makes
datetimes for callers and logs, and decides nothing.
"""

from __future__ import annotations

import copy
import random
from enum import Enum
from itertools import takewhile
from typing import Final, TypeAlias, TypeVar

import attrs

from ..account import AccountLog
from ..backoff import SPREAD, backoff, grown
from ..credentials import Credentials
from ..durations import seconds
from ..errors import CredentialsRejectedError, MintQuotaExhaustedError, TokenEndpointError, TokenError, VBCError
from .clock import NEVER, RemoteTimes, as_datetime
from .document import short_hash
from .endpoint import Answer, MintResult
from .known_tokens import CurrentToken, KeyTokens
from .ledger import Attempt, Ledger, Outcome
from .model import AccessToken, fingerprint
from .policy import TokenPolicy
from .pool import TokenPool
from .rejection import Rejection, Rejections

_EXACT: Final = (1.0, 1.0)
# Stated ages are not more precise than this share of a lifetime (a minute), and ``Date`` has whole seconds.
_AGE_PRECISION: Final = 1 / 60
_DATE_PRECISION: Final = 2.0
_MAX_REMEMBERED: Final = 32
_E = TypeVar("_E", bound=VBCError)


class RefreshMode(Enum):
    """How urgently a token is needed, which decides what may be spent on it."""

    MANDATORY = "mandatory"
    """Callers have no usable token: the whole quota may be spent."""
    ADVISORY = "advisory"
    """The current token is still usable: the reserve must stay, and a store that is down defers the refresh."""
    GROW = "grow"
    """A further token is wanted beside the current one, on the same terms."""


@attrs.frozen
class Failure:
    """The last failed attempt.

    Args:
        error: never raised itself: each caller gets a copy, with this one as its cause.
        until: on `Clock.now`; no new attempt is made before.
        count: failures in a row.
        api_key: a short hash of the API key, if the server rejected that.
        shared: whether other processes would have failed, too.
    """

    error: TokenError
    until: float
    count: int
    api_key: str | None = None
    shared: bool = True

    def applies_to(self, credentials: Credentials | None) -> bool:
        """Return whether it concerns these credentials. A rejected key says nothing about a corrected one."""
        return self.api_key is None or credentials is None or self.api_key == key_hash(credentials)


@attrs.frozen
class Wait:
    """No mint may be made before `until`; `error` is what callers without a token get meanwhile."""

    until: float
    error: TokenError


@attrs.frozen
class Mint:
    """A mint may be made now."""


Step: TypeAlias = CurrentToken | Wait | Mint
"""What to do next: serve this token, wait, or mint."""
_MINT: Final = Mint()
_UNKNOWN_KEY: Final = KeyTokens()


@attrs.define(eq=False, repr=False, weakref_slot=False)
class AccountState:
    """All that is known of one account.

    Args:
        policy: the numbers.

    Attributes:
        ledger: the attempts of the last window, by all processes.
        credentials: the API key in use; None until a credentials callable was called.
        current: the token for callers, possibly expired.
        used: whether the current token was used since it was obtained: an unused one is not refreshed.
        failure: the last failed attempt since the last success.
        generation: grows with every new token.
        times: the local times that foreign time stamps mean.
        pool: the older tokens that still live; None if the policy wants one token only.
        rejections: what is known of rejected tokens.
        log: for sentences about the account.
    """

    _policy: TokenPolicy
    log: AccountLog = attrs.field(init=False)
    ledger: Ledger = attrs.field(init=False)
    credentials: Credentials | None = attrs.field(init=False, default=None)
    current: CurrentToken | None = attrs.field(init=False, default=None)
    used: bool = attrs.field(init=False, default=False)
    failure: Failure | None = attrs.field(init=False, default=None)
    generation: int = attrs.field(init=False, default=0)
    times: RemoteTimes = attrs.field(init=False, factory=RemoteTimes)
    pool: TokenPool | None = attrs.field(init=False, default=None)
    rejections: Rejections = attrs.field(init=False)
    # Tuples: there is usually one entry, and an idle session should need little memory.
    _keys: tuple[tuple[str, KeyTokens], ...] = attrs.field(init=False, default=())
    _newest_value: str | None = attrs.field(init=False, default=None)
    _postponed_to: float | None = attrs.field(init=False, default=None)
    _refresh_failures: int = attrs.field(init=False, default=0)
    _age_ignored: bool = attrs.field(init=False, default=False)
    # When the request for the last minted token was sent, and whether the server has returned a token twice.
    _last_sent: float = attrs.field(init=False, default=-NEVER)
    _repeats: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.log = AccountLog(self)
        self.ledger = Ledger(seconds(self._policy.mint_window), self._policy.max_mints)
        if self._policy.tokens > 1:
            self.pool = TokenPool(self._policy)
        self.rejections = Rejections(self._policy, self.pool)

    # Deciding

    def next_step(self, now: float, shift: float, mode: RefreshMode) -> Step:
        """Decide whether to serve a known token, wait, or mint.

        A wait for the quota is remembered as a failure, so that callers do not look into the store each time.
        """
        if (adopted := self.adoptable(now, mode)) is not None:
            return adopted
        advisory = mode is not RefreshMode.MANDATORY
        if mode is RefreshMode.GROW and not self.has_room(now):
            return Wait(now, TokenEndpointError("as many tokens live as may"))
        if advisory and (quiet_until := self._quiet_until()) > now:
            if mode is RefreshMode.GROW and self.ledger.attempts[-1].at > now:
                quiet_until = now  # a process is minting: its token may be there soon, and callers wait for it
            return Wait(quiet_until, TokenEndpointError("the outcome of the last token requests is unknown"))
        if (failure := self.active_failure(now)) is not None:
            return Wait(failure.until, failure.error)
        free_at = self.ledger.free_at(now, reserve=self._reserve(mode))
        if free_at <= now:
            return _MINT
        error = MintQuotaExhaustedError(
            f"all {self._policy.max_mints} tokens of one window ({self._policy.mint_window}) are spent: no request "
            "is sent before retry_at; if this recurs, share one token between processes (store=, TRUECALLER_VBC_STORE)"
        )
        if not advisory:
            self._fail_for_quota(error, free_at, now, shift)
        return Wait(free_at, error)

    def adoptable(self, now: float, mode: RefreshMode) -> CurrentToken | None:
        """Return the newest known token if it makes a mint unnecessary."""
        known = self.key_tokens
        if known.token is None or known.token.value in self.rejections.values:
            return None
        if mode is RefreshMode.GROW and self.current is not None and self.current.token.value == known.token.value:
            return None
        is_new_enough = now < known.starts_at + self._max_age(mode)
        return self._obtained(known, known.token, adopted=True) if is_new_enough else None

    def refresh_at(self, now: float) -> float:
        """Return when the background should refresh, or `NEVER`.

        It never refreshes without a usable token, after the credentials were rejected, or if a stale token was not
        used: an idle process spends no mints.
        """
        current = self.usable(now)
        if current is None or (self.failure and isinstance(self.failure.error, CredentialsRejectedError)):
            return NEVER
        at = current.refresh_after if self._postponed_to is None else self._postponed_to
        return at if self.used or now < at else NEVER

    def usable(self, now: float) -> CurrentToken | None:
        """Return the current token if it may still be handed out."""
        current = self.current
        return current if current is not None and now < current.unusable_after else None

    def live(self, now: float) -> list[AccessToken]:
        """Return all tokens that may be handed out, newest first."""
        current = self.usable(now)
        older = () if self.pool is None else self.pool.live(self.rejections.values, now)
        return [*older] if current is None else [current.token, *older]

    def is_live(self, token: AccessToken) -> bool:
        """Return whether a token is the current one or an older one of the pool."""
        current = self.current
        is_current = current is not None and current.token.value == token.value
        return is_current or (self.pool is not None and self.pool.holds(token.value))

    def has_room(self, now: float) -> bool:
        """Return whether a further token may be asked for."""
        return self.pool is not None and self.pool.has_room(self.rejections.values, now)

    def unproven(self, now: float) -> AccessToken | None:
        """Return an older token of the pool that the API has not accepted beside the newer one; or None."""
        return None if self.pool is None else self.pool.unproven(now)

    def blocking_error(self, now: float) -> TokenError | None:
        """Return a copy of the error that callers without a token get without a new attempt; or None."""
        failure = self.active_failure(now)
        return fresh_copy(failure.error) if failure else None

    def mints_left(self, now: float) -> int:
        """Return how many mints may still be made now."""
        return max(0, self._policy.max_mints - self.ledger.spent(now))

    def _quiet_until(self) -> float:
        """Return until when attempts of unknown outcome, of any process, defer refreshing ahead."""
        attempts = self.ledger.attempts
        unknown = sum(1 for _ in takewhile(_is_unknown, reversed(attempts)))
        return attempts[-1].at + self._refresh_backoff(unknown, spread=_EXACT) if unknown else -NEVER

    def active_failure(self, now: float) -> Failure | None:
        """Return the last failure while it forbids another attempt."""
        failure = self.failure
        return failure if failure and now < failure.until and failure.applies_to(self.credentials) else None

    def _reserve(self, mode: RefreshMode) -> int:
        """Return how many mints must be left. Growth also leaves the refreshes that fall due within a window."""
        if mode is RefreshMode.MANDATORY:
            return 0
        policy = self._policy
        refreshes = policy.mint_window // policy.fresh_for if mode is RefreshMode.GROW else 0
        return policy.reserve_mints + refreshes

    def _max_age(self, mode: RefreshMode) -> float:
        """Return how old an adopted token may be. It must be fresh if callers still have a usable one."""
        policy = self._policy
        return (policy.fresh_for if mode is RefreshMode.ADVISORY else policy.usable_for).total_seconds()

    # Attempts

    def enter(self, attempt: Attempt, now: float) -> None:
        """Enter an attempt before it is made, or its outcome."""
        self.ledger = self.ledger.pruned(now).put(attempt)

    def answered(
        self, attempt: Attempt, answer: Answer, sent: float, now: float, shift: float
    ) -> CurrentToken | TokenError:
        """Enter the answer to an attempt, however late it comes. Return the token, or the error for the callers."""
        self.enter(attrs.evolve(attempt, at=now, outcome=answer.outcome), now)
        if answer.result is not None:
            return self._minted(answer.result, sent, now, shift) or self.fail(
                TokenEndpointError(
                    "the token endpoint returned a token that has already ended by the server's own time stamps: "
                    "it will be tried again after retry_at"
                ),
                now,
                shift,
            )
        assert answer.error is not None  # noqa: S101 - an answer has a result or an error
        if isinstance(answer.error, MintQuotaExhaustedError):
            self.ledger = self.ledger.full(now, answer.retry_after)
            return self._fail_for_quota(answer.error, self.ledger.full_until, now, shift)
        shared = answer.outcome is not Outcome.UNSENT
        return self.fail(answer.error, now, shift, retry_after=answer.retry_after, shared=shared)

    def _minted(self, result: MintResult, sent: float, now: float, shift: float) -> CurrentToken | None:
        """Enter a minted token; None if it has already ended by the server's own time stamps."""
        age, stated = self._believed_age(result, sent, now)
        self._last_sent = sent
        starts_at = sent - age
        # The same value again is the same token: returning it again does not make it younger.
        starts_at = min(starts_at, self.times.get(fingerprint(result.value), starts_at))
        if now >= starts_at + self._policy.usable_for.total_seconds():
            return None
        ends_at = as_datetime(starts_at + shift + self._policy.lifetime.total_seconds())
        token = AccessToken(result.value, result.created_at or as_datetime(sent + shift), ends_at)
        repeated = token.value == self._newest_value
        if repeated:
            self._repeats = True
        else:
            self.generation += 1
        known = KeyTokens(self.generation, token, starts_at, age=stated)
        self._put_key_tokens(known, now)
        return self._obtained(known, token, repeated=repeated)

    def _believed_age(self, result: MintResult, sent: float, now: float) -> tuple[float, float]:
        """Return the age of a minted token, and the stated age to remember.

        A believed age brings the next mint forward, so a server, or a proxy, with a wrong clock must not be believed
        time after time. An age is ignored if it is beyond the life of a token, if the server says that it made the
        token before it gave us the last one, or if an earlier token was as old. After that all ages are, unless the
        server has returned a token twice, which explains ages.
        """
        policy, last = self._policy, self.key_tokens
        precision = max(policy.lifetime.total_seconds() * _AGE_PRECISION, _DATE_PRECISION)
        if result.age <= precision + now - sent:  # as old as an answer that took so long may be
            return result.age, last.age
        is_another = last.token is not None and last.token.value != result.value
        is_too_early = sent - result.age < max(last.starts_at, self._last_sent) - precision
        is_doubted = not self._repeats and (self._age_ignored or abs(last.age - result.age) < precision)
        if result.age < policy.usable_for.total_seconds() and not (is_another and (is_too_early or is_doubted)):
            return result.age, result.age
        if not self._age_ignored:
            self._age_ignored = True
            self.log.warning(
                "the token endpoint says that a new token is %.0f s old (Date minus created_at): the age is ignored",
                result.age,
            )
        return 0.0, result.age

    def fail(
        self, error: TokenError, now: float, shift: float, *, retry_after: float | None = None, shared: bool = True
    ) -> TokenError:
        """Remember a failure for all callers until its time. Return the error with its `retry_at` set."""
        policy, last = self._policy, self.failure
        count = last.count + 1 if last and type(last.error) is type(error) else 1
        rejected = isinstance(error, CredentialsRejectedError)
        if rejected:
            wait = grown(policy.error_memory.total_seconds(), count)
        elif retry_after is not None:
            wait = retry_after
        else:
            most = policy.retry_most.total_seconds()
            wait = backoff(policy.retry_first.total_seconds(), count, most=most)
        until = now + min(wait, self.ledger.window)
        error.retry_at = as_datetime(until + shift)
        self.failure = Failure(error, until, count, key_hash(self.credentials) if rejected else None, shared)
        return error

    def _fail_for_quota(self, error: TokenError, free_at: float, now: float, shift: float) -> TokenError:
        """Remember that the quota is spent, but look again soon, since another process may store a token."""
        until = min(free_at, now + self._policy.retry_most.total_seconds())
        error.retry_at = as_datetime(free_at + shift)
        self.failure = Failure(error, until, self.failure.count if self.failure else 0, shared=False)
        return error

    # The current token

    def _obtained(
        self, known: KeyTokens, token: AccessToken, *, adopted: bool = False, repeated: bool = False
    ) -> CurrentToken:
        """Return a token that ends the last failure. The holder makes it the current one."""
        self.failure = None
        self._newest_value = token.value
        # Only now: a stamp that made the token look ended may be wrong, and must not age it if it is minted again.
        self.times.fix(token.fingerprint, known.starts_at)
        policy = self._policy
        jitter = random.uniform(0, policy.refresh_jitter.total_seconds())
        return CurrentToken(
            token,
            known.generation,
            refresh_after=known.starts_at + (policy.lifetime - policy.refresh_ahead).total_seconds() - jitter,
            unusable_after=known.starts_at + policy.usable_for.total_seconds(),
            adopted=adopted,
            repeated=repeated,
        )

    def keep(self, token: CurrentToken, now: float, *, used: bool) -> None:
        """Make it the current token. `used` says whether callers are using it already."""
        token.obtained_at = now
        token.replacement = not token.adopted and self.current is None and bool(self.rejections.values)
        if self.current is not None and self.current.token.value != token.token.value:
            self.rejections.previous = self.current
        self.current, self.used = token, used
        is_stale = now >= token.refresh_after
        if (token.repeated or is_stale) and not token.adopted:
            self.refresh_failed(now)
        else:
            self._refresh_failures = 0
            self._postponed_to = now + self._policy.adoption_delay.total_seconds() if is_stale else None

    def drop(self) -> None:
        """Give up the current token."""
        self.current = None

    def refresh_failed(self, now: float) -> None:
        """Postpone the next refresh by a backoff of its own, and until the failure is forgotten."""
        self._refresh_failures += 1
        until = now + self._refresh_backoff(self._refresh_failures)
        self.postpone_refresh(max(until, self.failure.until) if self.failure else until)

    def retry_store_at(self, now: float) -> float:
        """Return when to refresh again while the store is down or must be repaired."""
        return now + self._refresh_backoff(1)

    def growth_retry_at(self, now: float) -> float:
        """Return when to ask for a further token again after a failure."""
        failure = self.failure
        until = now + self._refresh_backoff(max(1, failure.count) if failure else 1)
        return max(until, failure.until) if failure else until

    def postpone_refresh(self, until: float) -> None:
        """Refresh at `until` instead of when the token becomes stale."""
        self._postponed_to = until

    def _refresh_backoff(self, count: int, *, spread: tuple[float, float] = SPREAD) -> float:
        longest = self._policy.mint_window.total_seconds()
        return backoff(self._policy.refresh_retry.total_seconds(), count, most=longest, spread=spread)

    def change_account(self) -> None:
        """Forget everything: the credentials are of another account, whose quota and tokens are its own."""
        credentials, pool = self.credentials, self.pool
        self.__init__(self._policy)  # type: ignore[misc]
        self.credentials = credentials
        if self.pool is not None and pool is not None:
            self.pool.listeners = pool.listeners

    # Rejection

    def reject(self, token: AccessToken, now: float) -> Rejection:
        """Judge a token that the API rejected, and drop it if it can be replaced. It is never adopted again."""
        verdict = self.rejections.judge(token, self.current, self._no_mint(now), now)
        if verdict is Rejection.DROPPED:
            self.drop()
        return verdict

    def reject_both(self, one: AccessToken, other: AccessToken, now: float) -> Rejection | None:
        """Judge the current token if the API rejected it and an older one for the same request; None if not."""
        verdict = self.rejections.judge_both(one, other, self.current, self._no_mint(now), now)
        if verdict is Rejection.DROPPED:
            self.drop()
        return verdict

    def _no_mint(self, now: float) -> Rejection | None:
        """Return the verdict on a token that cannot be replaced now; None if one may be minted."""
        if self.active_failure(now) is not None:
            return Rejection.KEPT
        return None if self.mints_left(now) else Rejection.SPENT

    def judge_older(self, rejected: AccessToken, accepted: AccessToken, now: float) -> bool:
        """Judge an older token that was rejected, in whose place another was accepted.

        Return whether the pool is given up.
        """
        current = self.current
        is_newest = current is not None and current.token.value == accepted.value
        return self.pool is not None and is_newest and self.pool.judge(rejected.value, now)

    # Sharing with other processes

    @property
    def key_tokens(self) -> KeyTokens:
        """The newest known token of the current API key."""
        return dict(self._keys).get(self.credentials.key_id, _UNKNOWN_KEY) if self.credentials else _UNKNOWN_KEY

    def _put_key_tokens(self, tokens: KeyTokens, now: float) -> None:
        assert self.credentials is not None  # noqa: S101 - tokens belong to a key
        if self.pool is not None:
            self.pool.add([self.key_tokens], tokens.token, self.rejections.values, now)
        key_id = self.credentials.key_id
        others = (pair for pair in self._keys if pair[0] != key_id)
        self._keys = (*others, (key_id, tokens))[-_MAX_REMEMBERED:]

    def merge_ledger(self, attempts: tuple[Attempt, ...], full_until: float, now: float) -> None:
        """Add the attempts that other processes know."""
        theirs = attrs.evolve(self.ledger, attempts=attempts, full_until=full_until)
        self.ledger = self.ledger.merged(theirs).pruned(now)

    def merge_tokens(self, theirs: KeyTokens, now: float) -> None:
        """Keep the newer one of the known token and that of other processes.

        A lower generation means that the store missed our token, or lost it. After a loss other processes count from
        one again, so that a token of a lower generation that began later is newer, too. A process that mints while the
        store is down may not know the generation there, so one of any generation that has ended gives way.
        """
        ours, failure = self.key_tokens, self.failure
        if failure is not None and theirs.token is not None and theirs.starts_at >= failure.until:
            self.failure = None  # a process has got a token since, so the next failure is the first in a row
        generation = max(theirs.generation, ours.generation)
        later = theirs.token is not None and ours.token is not None and theirs.starts_at > ours.starts_at
        has_ended = now >= theirs.starts_at + self._policy.usable_for.total_seconds()
        none_left = theirs.token is None or (has_ended and ours.starts_at > theirs.starts_at)
        if none_left and ours.token is not None:
            self._put_key_tokens(attrs.evolve(ours, generation=generation), now)
        elif theirs.generation >= ours.generation or later:
            self._put_key_tokens(attrs.evolve(theirs, generation=generation), now)
        self.generation = max(self.generation, theirs.generation)

    def merge_failure(self, failure: Failure) -> None:
        """Share the failure of another process, if it concerns our key and lasts longer than our own."""
        if failure.applies_to(self.credentials) and (self.failure is None or self.failure.until < failure.until):
            self.failure = failure

    def identity(self) -> tuple[str, str]:
        """Return a short hash of the account's ID, and the key ID; empty until they are known."""
        known = self.credentials
        return (short_hash(known.client_account_id)[:8], known.key_id) if known else ("", "")


def _is_unknown(attempt: Attempt) -> bool:
    return attempt.outcome is Outcome.UNKNOWN


def account_key(base_url: object, credentials: Credentials) -> str:
    """Return a short hash of an API key at a server, by which its sessions are known to each other."""
    return short_hash(str(base_url), credentials.client_account_id, credentials.key_id, credentials.api_key)


def key_hash(credentials: Credentials | None) -> str:
    """Return a short hash of the API key, which tells a corrected typo from the typo."""
    assert credentials is not None  # noqa: S101 - only asked for after an attempt
    return short_hash(credentials.client_account_id, credentials.key_id, credentials.api_key)[:16]


def fresh_copy(error: _E) -> _E:
    """Return a new exception like `error` and caused by it, so that no two callers raise the same object."""
    twin = copy.copy(error)
    twin.__cause__ = error
    return twin
