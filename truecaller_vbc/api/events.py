"""Define the event of a typed call that has ended, for metrics and traces."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from ..account import AccountEvent
from .responses import FailureOutcome

CallOutcome: TypeAlias = FailureOutcome | Literal["ok", "cancelled"]


@attrs.frozen
class CallFinished(AccountEvent):
    """A typed call has ended. Only listeners of `VBCSession.subscribe` get it.

    Attributes:
        call: such as ``calls.push``, ``labels.list`` (one for each page) or ``numbers.publish``.
        outcome: ``ok``; ``refused`` by the API; ``unknown``: its answer was lost; ``unsent``; or ``cancelled``.
        seconds: how long it took, with all waits and retries.
        pace_wait: seconds of it in which it waited for its turn under the rates.
        attempts: how often it was sent.
        error: what it raised, or None.
    """

    call: str
    outcome: CallOutcome
    seconds: float
    pace_wait: float
    attempts: int
    error: BaseException | None = None
