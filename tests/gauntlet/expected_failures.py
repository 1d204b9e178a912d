"""Decide whether an error that a caller got was to be expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from truecaller_vbc import TokenError, TokenPolicy
from truecaller_vbc.errors import CredentialsRejectedError, MintQuotaExhaustedError, TokenEndpointError

from .recorder import NEVER, Attempt

if TYPE_CHECKING:
    from .simulation import Simulation

POLICY: Final = TokenPolicy()
WINDOW: Final = POLICY.mint_window.total_seconds()
TIMEOUT: Final = POLICY.mint_timeout.total_seconds()
LEASE: Final = POLICY.lease.total_seconds()
USABLE: Final = POLICY.usable_for.total_seconds()
INSTANT: Final = 0.001
"""Tolerance for times that were stored as seconds since 1970, which loses digits."""
SPREAD: Final = 1.2
LONGEST_CALL: Final = 1_500.0
_MANY: Final = 32
SETTLE_TIME: Final = 60.0
"""Attempts count as known to all once their store has worked this long, since an earlier read may still be running."""


def settled_at(simulation: Simulation) -> float:
    """Return since when no read is running that began before the store worked. It does not end while machines sleep."""
    at = simulation.condition.healthy_since + SETTLE_TIME
    for began, seconds in simulation.site.suspensions:
        if simulation.condition.healthy_since <= began < at:
            at += seconds
    return at


def knows_of(simulation: Simulation, actor: int, group: int, other: Attempt) -> bool:
    """Return whether a session must know of an attempt, because it is its own or its store worked.

    Entries of other sessions are dated by the wall clock, so a step of that clock makes older entries worthless.
    """
    if other.actor == actor:
        return True
    shared = other.group == group and settled_at(simulation) < other.sent
    has_told = other.ended == NEVER or simulation.freezer.had_time(other.actor, other.ended)
    return shared and has_told and simulation.site.stepped_at < other.sent


@attrs.frozen
class Case:
    """An error that a caller of `actor` got at `now` after waiting since `began`; `group` is its store."""

    simulation: Simulation
    actor: int
    group: int
    began: float
    now: float

    def known_late(self, attempt: Attempt) -> float:
        """Return by how much later than it should a session may take an attempt to have ended.

        Without a common clock, the last write may be the latest time that it knows when it first reads of the attempt.
        """
        settings = self.simulation.settings
        if settings.agree_on_time or attempt.actor == self.actor:
            return 0.0
        return max(0.0, attempt.seen.get(self.actor, attempt.ended) - attempt.ended) + settings.clock_error


def is_expected(case: Case, error: TokenError) -> bool:
    """Return whether `error` had a cause."""
    simulation = case.simulation
    if simulation.settings.shared and case.now < simulation.site.stepped_back_until + WINDOW + LEASE:
        return True  # stored times that now lie in the future are cut to a window
    if any(since <= case.now <= until for since, until in simulation.site.false_times):
        return True  # no false time in a document keeps anybody waiting for longer than a window
    if isinstance(error, MintQuotaExhaustedError):
        return _quota_is_spent(case)
    if isinstance(error, CredentialsRejectedError):
        return _was_refused(case)
    if isinstance(error, TokenEndpointError):
        return _has_failed(case) or _lease_was_taken(case) or _owners_were_frozen(case)
    return simulation.vault_is_down or case.now < simulation.vault_healthy_since + _longest_backoff() + 1.0


def _quota_is_spent(case: Case) -> bool:
    """Return whether ten attempts count, or the server said that the quota is used up and its wait is not over."""
    attempts = case.simulation.recorder.group(case.group)
    if sum(a.counts and _counted_at(a) + WINDOW + case.known_late(a) > case.now for a in attempts) >= POLICY.max_mints:
        return True
    refused = [a for a in attempts if a.error is MintQuotaExhaustedError]
    return any(
        a.ended >= case.began or a.ended + _retry_after(a, WINDOW + LEASE) + case.known_late(a) + INSTANT > case.now
        for a in refused
    )


def _was_refused(case: Case) -> bool:
    """Return whether the server refused the credentials and that error is still remembered."""
    memory = POLICY.error_memory.total_seconds()
    return _Failures(case, credentials=True).remembered(lambda count: min(memory * 2.0 ** min(count - 1, 10), WINDOW))


def _has_failed(case: Case) -> bool:
    """Return whether an attempt failed during the call, or before it with a backoff that is not over."""
    first = POLICY.retry_first.total_seconds()
    most = POLICY.retry_most.total_seconds()

    def backoff(count: int) -> float:
        return min(first * 2.0 ** min(count - 1, 10), most) * SPREAD

    return _Failures(case, credentials=False).remembered(backoff) or _is_overdue(case, backoff(_MANY))


def _is_overdue(case: Case, longest: float) -> bool:
    """Tell whether callers have stopped waiting for an attempt that still goes on, or did so shortly before."""
    overdue = [a.overdue for a in case.simulation.recorder.group(case.group) if a.overdue != NEVER]
    return any(case.began <= at <= case.now or at <= case.now <= at + longest for at in overdue)


class _Failures:
    """Failures of one kind among the attempts of one store."""

    def __init__(self, case: Case, *, credentials: bool) -> None:
        self._case = case
        self._recorder = case.simulation.recorder
        self._attempts = [a for a in self._recorder.group(case.group) if a.answer is not None]
        self._credentials = credentials

    def remembered(self, wait: Callable[[int], float]) -> bool:
        """Return whether a failure happened during the call, or `wait`, given the number in a row, is not over."""
        began, now = self._case.began, self._case.now
        for number in range(len(self._attempts) - 1, -1, -1):
            attempt = self._attempts[number]
            latest = attempt.ended + WINDOW + LONGEST_CALL + self._case.known_late(attempt)
            if attempt.ended < began and now > latest:
                return False
            if self._fails(attempt):
                until = attempt.ended + _retry_after(attempt, wait(self._in_a_row(number))) + 0.01
                until += self._case.known_late(attempt)
                if attempt.ended >= began or now <= until:
                    return True
        return False

    def _fails(self, attempt: Attempt) -> bool:
        if self._credentials:
            return attempt.error is CredentialsRejectedError
        return attempt.error is TokenEndpointError or self._had_ended(attempt)

    def _had_ended(self, attempt: Attempt) -> bool:
        """Return whether the token was too old on arrival, because it was repeated or the machine slept.

        A repeated token keeps its start, which is when the first request was sent that was answered with it. Without a
        common clock, a session may have taken another start for a token that it first had from another one.
        """
        made = None if attempt.value is None else self._recorder.minted_at(attempt.value)
        answered = [a for a in self._attempts if a.value == attempt.value]
        is_foreign = made is not None and answered[0].actor != attempt.actor
        if is_foreign and not self._case.simulation.settings.agree_on_time:
            return True
        return made is not None and attempt.ended - min(made, *(a.sent for a in answered)) > USABLE - 20.0

    def _in_a_row(self, last: int) -> int:
        """Count the failures since the last success; many, if the store failed meanwhile and may hide some."""
        count, succeeded = 0, 0.0
        for attempt in reversed(self._attempts[: last + 1]):
            # A success may be that of another API key, which does not end the count of a rejected one.
            if attempt.value is not None and not self._had_ended(attempt) and not self._credentials:
                succeeded = attempt.ended
                break
            count += self._fails(attempt)
        # The success may belong to another session: it ends this session's count only if the store was known to work.
        return _MANY if settled_at(self._case.simulation) >= succeeded else count


def _retry_after(attempt: Attempt, otherwise: float) -> float:
    told = attempt.answer.retry_after if attempt.answer else None
    return otherwise if told is None else min(told, WINDOW)


def _counted_at(attempt: Attempt) -> float:
    """Return when an attempt counts, which is the end of its lease for a session that saw it running."""
    return attempt.sent + LEASE if attempt.ended == NEVER else max(attempt.ended, attempt.sent + LEASE)


def _lease_was_taken(case: Case) -> bool:
    """Return whether the lease was not to be had, or was shortly before; a frozen process does not wait meanwhile."""
    free_since = case.simulation.condition.lease_free_since
    return (
        case.now - case.simulation.freezer.frozen_for(case.actor, free_since) < free_since + _longest_backoff() + 20.0
    )


def _owners_were_frozen(case: Case) -> bool:
    """Return whether two owners of the lease in a row were frozen: callers wait for one such owner only."""
    since = case.began - TIMEOUT - 2 * LEASE - _longest_backoff()
    simulation = case.simulation
    granted = {actor: at for actor, at in simulation.granted.items() if since <= at <= case.now}
    return sum(simulation.freezer.was_frozen(actor, at, at + LEASE) for actor, at in granted.items()) > 1


def _longest_backoff() -> float:
    return POLICY.retry_most.total_seconds() * SPREAD
