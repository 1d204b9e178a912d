"""Check that no mint is lost: the token of an answer is waited for, kept and stored, however late it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from .expected_failures import LEASE, USABLE, settled_at
from .faulty_store import documents_in
from .recorder import Attempt

if TYPE_CHECKING:
    from .simulated_session import Session
    from .simulation import Simulation

_WRITTEN_WITHIN: Final = 10.0
_ROUNDING: Final = 1.0
_CUT: Final = "did not answer within"


@attrs.frozen
class _Answered:
    session: Session
    attempt: Attempt
    loop_time: float


class KeptMints:
    """Remember the tokens that sessions were answered with, and look for them shortly afterwards.

    Args:
        simulation: whose sessions and stores are looked at.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._answered: list[_Answered] = []

    def ended(self, session: Session, attempt: Attempt) -> str | None:
        """Note the end of an attempt. Return what is wrong with it, if anything."""
        simulation = self._simulation
        if attempt.value is not None:
            self._answered.append(_Answered(session, attempt, simulation.loop.time()))
            return None
        error = attempt.answer.error if attempt.answer else None
        waited = attempt.ended - attempt.sent
        # A store that fails, or being frozen, takes time off the lease before the request is sent.
        healthy = settled_at(simulation) < attempt.sent
        healthy &= simulation.freezer.last_frozen(session.number) + 2 * LEASE < simulation.loop.time()
        healthy &= simulation.site.suspended_at + 2 * LEASE < simulation.loop.time()
        if error is not None and _CUT in str(error) and healthy and waited < LEASE - _ROUNDING:
            return f"session {session.number} hung up after {waited:.1f} s, although it had the lease"
        return None

    def lost(self) -> list[str]:
        """Return a text for each token that was answered a while ago and is neither kept nor replaced."""
        due = [it for it in self._answered if self._is_due(it)]
        self._answered = [it for it in self._answered if it not in due]
        return [said for it in due if (said := self._judged(it.session, it.attempt)) is not None]

    def _is_due(self, answered: _Answered) -> bool:
        frozen = self._simulation.freezer.last_frozen(answered.session.number)
        return max(answered.loop_time, frozen) + _WRITTEN_WITHIN <= self._simulation.loop.time()

    def _judged(self, session: Session, attempt: Attempt) -> str | None:
        simulation, recorder = self._simulation, self._simulation.recorder
        assert attempt.value is not None
        made = recorder.minted_at(attempt.value)
        ended_on_arrival = made is None or attempt.ended - min(made, attempt.sent) > USABLE - 20.0
        newer = [a for a in recorder.group(attempt.group) if a.value is not None and a.ended >= attempt.ended]
        if session.closed or ended_on_arrival or newer != [attempt]:
            return None
        took = f"the token of session {session.number}, answered after {attempt.ended - attempt.sent:.1f} s"
        known = session.vbc._holder.state.key_tokens
        if known.token is None or known.token.value != attempt.value:
            # One that was minted while the store was down does not replace a stored one that has not ended.
            is_alive = known.token is not None and attempt.ended < known.starts_at + USABLE
            return None if is_alive else f"{took}, is not kept"
        if not simulation.settings.agree_on_time or simulation.site.stepped_at >= attempt.sent:
            return None  # to a machine whose clock differs, its time may be one that cannot be true
        if simulation.now() >= attempt.ended + USABLE:
            return None  # looked at late, since the machines slept: stores forget what has ended
        if simulation.condition.fault is None and settled_at(simulation) < attempt.sent:
            stored = documents_in(session.store)
            if stored and not any(attempt.value in text for text in stored.values()):
                return f"{took}, is not stored"
        return None
