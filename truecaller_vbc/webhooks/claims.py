"""Define where claims live: the protocol, the claims in memory, and the URLs of the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Protocol, runtime_checkable

from ..errors import ClaimLostError, ConfigurationError
from ..secret import hidden
from ..stores import url_kind, url_path

KEEP: Final = 30 * 86400.0
"""Seconds for which a settled event is remembered, as long as Truecaller's own log."""
MOST: Final = 1_000_000
"""How many settled events are remembered, and how many stored ones may wait; the oldest settled ones go first."""


class ClaimState(Enum):
    """What a place answers to a claim, or to an event that is to be stored."""

    GRANTED = "granted"
    """The event is yours (or was stored)."""
    RUNNING = "running"
    """Another handler has it, or there is no room for it: it must come again."""
    DONE = "done"
    """It was settled, or is stored already."""


@runtime_checkable
class Claims(Protocol):
    """Remember which events are being handled and which are settled. Raise `StoreError` for an outage.

    A claim belongs to an owner (a text that is used once), and ends after its seconds, so that the claim of a dead
    process does not block its event. A place that survives a crash has `put` and `take` as well (`SQLiteClaims`).
    """

    async def claim(self, event_id: str, owner: str, seconds: float) -> ClaimState:
        """Claim an event for `seconds`."""
        ...

    async def settle(self, event_id: str, owner: str, work: Callable[[Any], object] | None = None) -> None:
        """Remember an event as handled; do `work` in the same transaction.

        Raises:
            ClaimLostError: the claim has ended; nothing was done.
        """
        ...

    async def release(self, event_id: str, owner: str, delay: float = 0.0) -> None:
        """Give an event back; a stored one is due again after `delay` seconds."""
        ...

    async def close(self) -> None:
        """Close connections and files."""
        ...


class MemoryClaims:
    """Keep claims in this object, for one process. They end with it."""

    durable = False

    def __init__(self, *, keep: float = KEEP, most: int = MOST) -> None:
        self._keep = keep
        self._most = most
        self._running: dict[str, tuple[str, float]] = {}
        self._settled: dict[str, float] = {}  # oldest first

    async def claim(self, event_id: str, owner: str, seconds: float) -> ClaimState:
        """Claim an event for `seconds`."""
        now = time.monotonic()
        if self._settled.get(event_id, now) > now:
            return ClaimState.DONE
        if event_id in self._running and self._running[event_id][1] > now:
            return ClaimState.RUNNING
        self._running[event_id] = (owner, now + seconds)
        return ClaimState.GRANTED

    async def settle(self, event_id: str, owner: str, work: Callable[[Any], object] | None = None) -> None:
        """Remember an event as handled, after `work`, which gets None."""
        if self._running.get(event_id, ("",))[0] != owner:
            raise lost(event_id)
        if work is not None:
            work(None)
        del self._running[event_id]
        now = time.monotonic()
        self._settled.pop(event_id, None)
        self._settled[event_id] = now + self._keep
        while self._settled[oldest := next(iter(self._settled))] <= now or len(self._settled) > self._most:
            del self._settled[oldest]

    async def release(self, event_id: str, owner: str, delay: float = 0.0) -> None:  # noqa: ARG002 - of the protocol
        """Give an event back."""
        if self._running.get(event_id, ("",))[0] == owner:
            del self._running[event_id]

    async def close(self) -> None:
        """Do nothing."""


def lost(event_id: str) -> ClaimLostError:
    """Return the error about an event that another receiver may hold."""
    return ClaimLostError(
        f"the claim of event {event_id} has ended or was never had: let the error leave the handler, "
        "and give handlers that take longer a longer lease="
    )


def open_claims(seen: Claims | str | None) -> Claims:
    """Return the given claims, those at the place that a URL names, or new ones in memory for None.

    Raises:
        ConfigurationError: it is neither, or the URL is of an unknown kind.
    """
    if seen is None:
        return MemoryClaims()
    if not isinstance(seen, str):
        if not isinstance(seen, Claims):
            raise ConfigurationError(f"seen= must be a URL or an object with the methods of Claims, not {type(seen)}")
        return seen
    seen = hidden(seen)  # the URL may contain a password, and tracebacks can show the locals of their frames
    kind = url_kind(seen, setting="seen=")
    if kind == "memory":
        return MemoryClaims()
    if kind == "redis":
        from .redis import RedisClaims  # noqa: PLC0415 - these two import this module

        return RedisClaims(seen)
    from .sqlite import SQLiteClaims  # noqa: PLC0415

    return SQLiteClaims(url_path(seen, setting="seen="))
