"""Which failures have a reason: what "while a token could be had" means, spelled out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from truecaller_vbc import TokenError, TokenPolicy
from truecaller_vbc.errors import CredentialsRejectedError, MintQuotaExhaustedError, TokenEndpointError

from .recorder import NEVER, Attempt

if TYPE_CHECKING:
    from .simulation import World

POLICY: Final = TokenPolicy()
WINDOW: Final = POLICY.mint_window.total_seconds()
TIMEOUT: Final = POLICY.mint_timeout.total_seconds()
LEASE: Final = POLICY.lease.total_seconds()
USABLE: Final = POLICY.usable_for.total_seconds()
SPREAD: Final = 1.2
LONGEST_CALL: Final = 1_500.0
_MANY: Final = 32
SETTLED: Final = 60.0
"""A store counts as shared knowledge once it has worked this long: a walk that began before may still be under way."""


def knows(world: World, actor: int, group: int, other: Attempt) -> bool:
    """Whether a session must know of another attempt: its own, or one that went through a store that worked.

    What others wrote is dated by the wall clock, so a step of it makes older entries worthless.
    """
    if other.actor == actor:
        return True
    shared = other.group == group and world.condition.healthy_since + SETTLED < other.sent
    return shared and world.stepped_at < other.sent


@attrs.frozen
class Case:
    """A caller who began to wait at `began` and was told an error at `now`; `group` is the store of its session."""

    world: World
    group: int
    began: float
    now: float


def justified(case: Case, error: TokenError) -> bool:
    """Whether there was a reason to tell `error`."""
    world = case.world
    if world.rules_of_life.shared and case.now < world.stepped_back_until + WINDOW + LEASE:
        return True  # times that others wrote lie in the future; they are cut to a window after they are read
    if isinstance(error, MintQuotaExhaustedError):
        return _quota_is_spent(case)
    if isinstance(error, CredentialsRejectedError):
        return _was_refused(case)
    if isinstance(error, TokenEndpointError):
        return _has_failed(case) or _lease_was_taken(case)
    return world.vault_is_down or case.now < world.vault_healthy_since + _longest_backoff() + 1.0


def _quota_is_spent(case: Case) -> bool:
    """Ten attempts count, or the server itself said so and its time has not come."""
    attempts = case.world.witness.group(case.group)
    if sum(a.counts and _counted_at(a) + WINDOW > case.now for a in attempts) >= POLICY.max_mints:
        return True
    refused = [a for a in attempts if a.error is MintQuotaExhaustedError]
    return any(a.ended >= case.began or a.ended + _told_wait(a, WINDOW + LEASE) > case.now for a in refused)


def _was_refused(case: Case) -> bool:
    """The server refused the credentials, and that is remembered: doubled each time, a window at most."""
    memory = POLICY.error_memory.total_seconds()
    return _Failures(case, credentials=True).remembered(lambda count: min(memory * 2.0 ** min(count - 1, 10), WINDOW))


def _has_failed(case: Case) -> bool:
    """An attempt failed during the call, or so lately that its backoff lasts."""
    first = POLICY.retry_first.total_seconds()
    most = POLICY.retry_most.total_seconds()

    def backoff(count: int) -> float:
        return min(first * 2.0 ** min(count - 1, 10), most) * SPREAD

    return _Failures(case, credentials=False).remembered(backoff) or _is_overdue(case, backoff(_MANY))


def _is_overdue(case: Case, longest: float) -> bool:
    """Tell whether callers have stopped waiting for an attempt that still goes on, or did so shortly before."""
    overdue = [a.sent + TIMEOUT for a in case.world.witness.group(case.group) if a.ended > a.sent + TIMEOUT]
    return any(case.began <= at <= case.now or at <= case.now <= at + longest for at in overdue)


class _Failures:
    """The failures of one kind among the attempts of one store."""

    def __init__(self, case: Case, *, credentials: bool) -> None:
        self._case = case
        self._witness = case.world.witness
        self._attempts = [a for a in self._witness.group(case.group) if a.answer is not None]
        self._credentials = credentials

    def remembered(self, wait: Callable[[int], float]) -> bool:
        """Whether one came during the call, or `wait`, given their count in a row, is not over."""
        began, now = self._case.began, self._case.now
        for number in range(len(self._attempts) - 1, -1, -1):
            attempt = self._attempts[number]
            if now > attempt.ended + WINDOW + LONGEST_CALL:
                return False
            if self._fails(attempt):
                until = attempt.ended + _told_wait(attempt, wait(self._in_a_row(number))) + 0.01
                if attempt.ended >= began or now <= until:
                    return True
        return False

    def _fails(self, attempt: Attempt) -> bool:
        if self._credentials:
            return attempt.error is CredentialsRejectedError
        return attempt.error is TokenEndpointError or self._had_ended(attempt)

    def _had_ended(self, attempt: Attempt) -> bool:
        """Whether the token was old when it came: handed out again, or answered while the machine slept."""
        made = None if attempt.value is None else self._witness.minted_at(attempt.value)
        return made is not None and attempt.ended - min(made, attempt.sent) > USABLE - 20.0

    def _in_a_row(self, last: int) -> int:
        """How many since the last success; with those that no attempt shows, if a store was in trouble meanwhile."""
        count, succeeded = 0, 0.0
        for attempt in reversed(self._attempts[: last + 1]):
            if attempt.value is not None and not self._had_ended(attempt):
                succeeded = attempt.ended
                break
            count += self._fails(attempt)
        # At the same moment, too: the success may have been somebody else's, which ends nobody else's count.
        return _MANY if self._case.world.condition.healthy_since >= succeeded else count


def _told_wait(attempt: Attempt, otherwise: float) -> float:
    told = attempt.answer.retry_after if attempt.answer else None
    return otherwise if told is None else min(told, WINDOW)


def _counted_at(attempt: Attempt) -> float:
    """When it is taken to have been counted: others who saw it under way keep to its deadline."""
    return attempt.sent + LEASE if attempt.ended == NEVER else max(attempt.ended, attempt.sent + LEASE)


def _lease_was_taken(case: Case) -> bool:
    return case.now < case.world.condition.lease_free_since + _longest_backoff() + 20.0


def _longest_backoff() -> float:
    return POLICY.retry_most.total_seconds() * SPREAD
