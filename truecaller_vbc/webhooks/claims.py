"""Define what claims are, and keep them in memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from ..errors import ClaimLostError

# Seconds for which a settled event is remembered, as long as Truecaller's own log.
KEEP: Final = 30 * 86400.0
# How many settled events are remembered, and how many stored ones may wait; the oldest settled ones go first.
MOST: Final = 1_000_000


class ClaimState(Enum):
    """What a place answers to a claim.

    ``GRANTED``: the event is yours, or was stored. ``RUNNING``: another handler has it, or there is no room, so it must
    come again. ``DONE``: it was settled, or is stored already.
    """

    GRANTED = "granted"
    RUNNING = "running"
    DONE = "done"


class MemoryClaims:
    """Keep claims in this object, for one process. They end with it.

    A claim belongs to an owner (a text that is used once), and ends after its seconds, so that the claim of a dead
    process does not block its event. A place of your own needs the four methods; ``mode="store_then_run"`` needs those
    of `SQLiteClaims`. An outage is a `StoreError`.
    """

    def __init__(self, *, keep: float = KEEP, most: int = MOST) -> None:
        self._keep = keep
        self._most = most
        self._known: dict[str, tuple[str, float]] = {}  # owner, "" once it is settled, and end
        self._settled: deque[str] = deque()  # oldest first

    async def claim(self, event_id: str, owner: str, seconds: float, body: bytes | None = None) -> ClaimState:  # noqa: ARG002
        """Claim an event for `seconds`."""
        now = time.monotonic()
        while len(self._settled) > self._most or (self._settled and self._known[self._settled[0]][1] <= now):
            del self._known[self._settled.popleft()]
        holder, until = self._known.get(event_id, ("", now))
        if until > now:
            return ClaimState.RUNNING if holder else ClaimState.DONE
        self._known[event_id] = (owner, now + seconds)
        return ClaimState.GRANTED

    async def settle(self, event_id: str, owner: str, work: Callable[[Any], object] | None = None) -> None:
        """Remember an event as handled, after `work`, which gets None.

        Raises:
            ClaimLostError: the claim has ended; nothing was done.
        """
        if self._known.get(event_id, ("", 0))[0] != owner:
            raise lost(event_id)
        if work is not None:
            work(None)
        self._known[event_id] = ("", time.monotonic() + self._keep)
        self._settled.append(event_id)

    async def release(self, event_id: str, owner: str, delay: float) -> None:  # noqa: ARG002 - nothing is stored
        """Give an event back."""
        if self._known.get(event_id, ("", 0))[0] == owner:
            del self._known[event_id]

    async def close(self) -> None:
        """Do nothing."""


def lost(event_id: str) -> ClaimLostError:
    """Return the error about an event that another receiver may hold."""
    return ClaimLostError(f"the claim of event {event_id} has ended: let the error leave the handler, or raise lease=")
