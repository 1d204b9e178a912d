"""Keep the attempts of the last window, and compute when the next mint may be made. Pure: no clock and no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import attrs

_MAX_KEPT: Final = 100


class Outcome(StrEnum):
    """Outcome of an attempt to mint."""

    UNKNOWN = "unknown"
    """Sent, or about to be, without a readable answer. It counts, because the token may have been made."""
    MINTED = "minted"
    """The server made a token. It counts."""
    REFUSED = "refused"
    """The server answered without a token. It does not count, unless the server says that the window is full."""
    UNSENT = "unsent"
    """The request did not reach the server. It never counts."""

    @property
    def counts(self) -> bool:
        """Return whether the attempt spends one of the mints that the server grants."""
        return self in (Outcome.UNKNOWN, Outcome.MINTED)


@attrs.frozen(weakref_slot=False)
class Attempt:
    """One attempt to mint.

    Args:
        id: unique among all processes that share a ledger.
        at: the latest time at which the server can have counted it: the time of its answer, or its deadline until then.
        outcome: see `Outcome`.
        minted_by: host and process, for people who read the ledger.
    """

    id: str
    at: float
    outcome: Outcome = Outcome.UNKNOWN
    minted_by: str = ""


@attrs.frozen(weakref_slot=False)
class Ledger:
    """The attempts of the last window with their outcomes.

    The server counts an attempt when it arrives; we only know when it answered. So an attempt leaves our window one
    window after its answer, never earlier than it leaves the server's window.

    Args:
        window: the length of the server's window in seconds.
        limit: the mints that the server grants in one window.
        attempts: oldest first.
        full_until: the server said that no mint is free before.
    """

    window: float
    limit: int
    attempts: tuple[Attempt, ...] = ()
    full_until: float = float("-inf")

    def put(self, attempt: Attempt) -> Ledger:
        """Return the ledger with `attempt`, which replaces an earlier entry of the same id."""
        others = [other for other in self.attempts if other.id != attempt.id]
        return attrs.evolve(self, attempts=self._bounded([*others, attempt]))

    def pruned(self, now: float) -> Ledger:
        """Return the ledger without the attempts that have left the window."""
        kept = tuple(a for a in self.attempts if a.at + self.window > now)
        return self if len(kept) == len(self.attempts) else attrs.evolve(self, attempts=kept)

    def merged(self, other: Ledger) -> Ledger:
        """Return the union of both ledgers. For attempts in both, keep this ledger's time and any known outcome."""
        mine = {a.id: a for a in self.attempts}
        for theirs in other.attempts:
            known = mine.get(theirs.id)
            if known is None:
                mine[theirs.id] = theirs
            elif known.outcome is Outcome.UNKNOWN and theirs.outcome is not Outcome.UNKNOWN:
                mine[theirs.id] = attrs.evolve(known, outcome=theirs.outcome)
        return attrs.evolve(
            self,
            attempts=self._bounded(mine.values()),
            full_until=max(self.full_until, other.full_until),
        )

    def _bounded(self, attempts: Iterable[Attempt]) -> tuple[Attempt, ...]:
        """Sort the attempts and drop old ones that change no answer; a fleet makes thousands during an outage."""
        ordered = tuple(sorted(attempts, key=_at))
        if len(ordered) <= _MAX_KEPT:
            return ordered
        counted = [a.id for a in ordered if a.outcome.counts]
        seen = [a.id for a in ordered if a.outcome is not Outcome.UNSENT]
        deciding = {*counted[-self.limit :], *seen[-self.limit :]}
        oldest, newest = ordered[:-_MAX_KEPT], ordered[-_MAX_KEPT:]
        return (*(a for a in oldest if a.id in deciding), *newest)

    def spent(self, now: float) -> int:
        """Return how many mints are spent at `now`; if more than the limit, at least as many as the limit."""
        if now < self.full_until:
            return self.limit
        return sum(a.outcome.counts and a.at + self.window > now for a in self.attempts)

    def free_at(self, now: float, *, reserve: int = 0) -> float:
        """Return the earliest time, from `now` on, at which a mint would leave `reserve` mints free."""
        taken = [a.at for a in self.attempts if a.outcome.counts and a.at + self.window > now]
        return max(now, self.full_until, _slot(taken, self.limit - reserve, self.window))

    def full(self, now: float, retry_after: float | None) -> Ledger:
        """Return the ledger after the server said that the window is full.

        The server counts more than we do. Without `retry_after` (seconds) every attempt that it can have seen
        is taken as counted, and one of them must leave the window before the next mint.
        """
        if retry_after is not None:
            return attrs.evolve(self, full_until=now + min(retry_after, self.window))
        seen = [a.at for a in self.attempts if a.outcome is not Outcome.UNSENT and a.at + self.window > now]
        return attrs.evolve(self, full_until=_slot(seen, min(self.limit, len(seen)), self.window))


def _at(attempt: Attempt) -> float:
    return attempt.at


def _slot(times: list[float], limit: int, window: float) -> float:
    """Return when fewer than `limit` of these ascending times are in the window."""
    return times[-limit] + window if 0 < limit <= len(times) else float("-inf")
