"""Check what a pool of tokens may do: its size, what it spends, what it hands out, and when it is given up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import attrs

from truecaller_vbc import AccessToken, TokenPolicy
from truecaller_vbc.sandbox.tokens import fingerprint
from truecaller_vbc.token.pool import SINGLE_LIFETIMES

from .expected_failures import INSTANT, LEASE, USABLE, knows_of, settled_at
from .faulty_store import documents_in
from .recorder import Attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from .simulated_session import Session
    from .simulation import Simulation

POLICY: Final = TokenPolicy()
LIFETIME: Final = POLICY.lifetime.total_seconds()
SINGLE_FOR: Final = SINGLE_LIFETIMES * LIFETIME
TOLD_WITHIN: Final = 180.0
_MERGED_WITHIN: Final = 20.0
_LOST_MINTS: Final = 2


@attrs.define
class Ended:
    """A pool that a session gave up.

    Args:
        session: number of the session.
        group: number of its store.
        at: time of the event.
        loop_time: the same on the event loop's clock.
        seen: when others first read of it, on the event loop's clock.
        checked: whether the store was looked at.
    """

    session: Session
    group: int
    at: float
    loop_time: float
    seen: dict[int, float] = attrs.field(factory=dict[int, float])
    checked: bool = False


class PoolChecker:
    """Check the pools of a simulation.

    Args:
        simulation: whose sessions are checked.
        add: called with the name of an invariant and what is wrong.
    """

    def __init__(self, simulation: Simulation, add: Callable[[str, str], None]) -> None:
        self._simulation = simulation
        self._add = add
        self._ended: list[Ended] = []

    # Mints

    def before_growth(self, session: Session, attempt: Attempt) -> None:
        """Check that a further token is needed, and is not one too many."""
        number = session.number
        alive = len(session.live())
        if alive >= session.tokens:
            self._add("pool size", f"session {number} asks for a further token beside {alive} of {session.tokens}")
        if (end := self._must_use_one(session)) is not None:
            self._add("one token", f"session {number} asks for a further token, {self._since(end):.0f} s after the end")
        if (other := self._ignored(session, attempt)) is not None:
            said = f"session {number} asks for a further token {attempt.sent - other.sent:.1f} s after"
            self._add("one mint for one need", f"{said} session {other.actor}, whose token it has not taken")

    def _ignored(self, session: Session, attempt: Attempt) -> Attempt | None:
        """Return the attempt that got the newest token, if the sender should have taken that instead of asking."""
        simulation, recorder = self._simulation, self._simulation.recorder
        answered = (other for other in reversed(recorder.attempts) if other.value is not None)
        known = (other for other in answered if knows_of(simulation, attempt.actor, attempt.group, other))
        newest = next(known, None)
        if newest is None or newest.actor == attempt.actor or newest.value in (None, session.current_value()):
            return None
        made = recorder.minted_at(newest.value)
        age = attempt.sent - (newest.sent if made is None else min(made, newest.sent))
        slack = LEASE + simulation.settings.clock_error
        is_dead = fingerprint(str(newest.value)) in recorder.dead
        return None if is_dead or age > USABLE - slack or not simulation.settings.agree_on_time else newest

    def after_growth(self, attempt: Attempt) -> None:
        """Check that growth does not go on where each new token ends the one before."""
        simulation = self._simulation
        rules = simulation.settings.sandbox
        if attempt.value is None or not rules.revoke_previous or rules.reuse_token:
            return
        since = attempt.sent - LIFETIME
        recent = [
            other
            for other in simulation.recorder.attempts
            if other.sent > since and knows_of(simulation, attempt.actor, attempt.group, other)
        ]
        growths = sum(other.growing and other.ahead and other.value is not None for other in recent)
        others = sum(other.counts and not (other.growing and other.ahead) for other in recent)
        revocations = sum(at > since for at in simulation.revocations)
        if growths > _LOST_MINTS + others + revocations:
            self._add("no mint loop", f"{growths} further tokens in an hour, although each ended the one before")

    # Tokens

    def handed_out(self, session: Session, tokens: list[AccessToken]) -> None:
        """Check the tokens that typed calls may send."""
        number = session.number
        if len(tokens) > session.tokens:
            self._add("pool size", f"session {number} has {len(tokens)} live tokens, not {session.tokens}")
        for token in tokens:
            if token.value == session.current_value():
                continue
            if session.pool is not None and token.value in session.pool.given_up:
                self._add("no rejected token", f"session {number} hands out {token.fingerprint}, which was rejected")
            self._simulation.checker.check_age(session, token)

    # The end of a pool

    def ended(self, session: Session, value: str) -> None:
        """Check that a pool was given up for a reason. `value` is the fingerprint of the token that was rejected."""
        simulation = self._simulation
        self._ended.append(Ended(session, session.group, simulation.now(), simulation.loop.time()))
        assert session.pool is not None
        if value not in simulation.recorder.dead:
            self._add("a pool ends for a reason", f"session {session.number} gave {value} up, which works")
        rules = simulation.settings.sandbox
        lives = rules.token_lifetime >= LIFETIME
        current = session.current_value()
        replaced = [a for a in simulation.recorder.attempts if a.value == current and a.replacing]
        if lives and not rules.revoke_previous and any(a.actor == session.number for a in replaced):
            self._add("a pool ends for a reason", f"session {session.number} knew that {value} was revoked with others")
        if lives and session.pool.proven is not None and session.pool.proven == session.pool.current:
            self._add("a pool ends for a reason", f"session {session.number} had the proof that tokens live together")

    def store_read(self, reader: int, document: str | None) -> None:
        """Note that a session reads the store, and so learns that a pool has ended."""
        if any(reader not in end.seen for end in self._ended) and _is_single(document):
            for end in self._ended:
                if self._is_sure(end):
                    end.seen.setdefault(reader, self._simulation.loop.time())

    def _is_sure(self, end: Ended) -> bool:
        """Return whether nothing happened to the store and the clocks since that could make others doubt."""
        simulation = self._simulation
        troubled = max(settled_at(simulation), simulation.site.stepped_at, simulation.site.poisoned_at)
        return simulation.settings.agree_on_time and troubled < end.at

    def _must_use_one(self, session: Session, *, since: float = 0.0) -> Ended | None:
        """Return the end of the pool that a session has known of for so long; None if it may have several tokens."""
        simulation = self._simulation
        for end in self._ended:
            is_over = simulation.now() >= end.at + SINGLE_FOR - INSTANT
            is_own = end.session is session
            seen = end.seen.get(session.number)
            is_told = seen is not None and end.group == session.group and self._is_sure(end)
            is_told = is_told and max(seen or 0.0, session.opened_loop) + since <= simulation.loop.time()
            if not is_over and (is_own or is_told):
                return end
        return None

    def _since(self, end: Ended) -> float:
        return self._simulation.now() - end.at

    def after_step(self) -> None:
        """Check the size of all pools, and that a fleet knows when its pool has ended."""
        simulation = self._simulation
        for session in simulation.sessions:
            alive = session.live()
            if len(alive) > session.tokens:
                self._add("pool size", f"session {session.number} keeps {len(alive)} tokens, not {session.tokens}")
            awake = simulation.freezer.last_frozen(session.number) + _MERGED_WITHIN < simulation.loop.time()
            end = self._must_use_one(session, since=_MERGED_WITHIN)
            if len(alive) > 1 and awake and end is not None:
                self._add(
                    "one token", f"session {session.number} has {len(alive)} tokens {self._since(end):.0f} s after"
                )
        for end in self._ended:
            self._check_told(end)

    def _check_told(self, end: Ended) -> None:
        simulation, session = self._simulation, end.session
        last = max(end.loop_time, simulation.freezer.last_frozen(session.number))
        if end.checked or last + TOLD_WITHIN > simulation.loop.time():
            return
        end.checked = True
        if session.closed or not self._is_sure(end) or simulation.condition.fault is not None:
            return
        if not _is_single(documents_in(session.store).get(simulation.key)):
            self._add("one token", f"session {session.number} has told nothing of the end of its pool")


def _is_single(document: str | None) -> bool:
    """Return whether a stored document says that a pool has ended."""
    try:
        keys: Any = json.loads(document or "")["keys"].values()
        return any(state.get("single_until") is not None for state in keys)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
