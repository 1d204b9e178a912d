"""A store that fails on command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias, get_args

from truecaller_vbc.errors import StoreError
from truecaller_vbc.stores import TokenStore

StoreFault: TypeAlias = Literal[
    "raises", "raises something else", "hangs", "is slow", "cannot write", "cannot release", "lease is taken"
]
STORE_FAULTS: Final[tuple[StoreFault, ...]] = get_args(StoreFault)


class StoreCondition:
    """State of a simulated store, common to the sessions that share it.

    Attributes:
        fault: None while the store works.
        healthy_since: when the store last began to work; infinity while it does not.
        lease_free_since: when leases were last granted correctly; infinity while they are not.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.fault: StoreFault | None = None
        self.healthy_since = float("-inf")
        self.lease_free_since = float("-inf")

    def fail(self, fault: StoreFault) -> None:
        self.fault = fault
        self.healthy_since = float("inf")
        if fault in ("lease is taken", "is slow", "hangs"):
            self.lease_free_since = float("inf")

    def mend(self) -> None:
        if self.fault is not None:
            self.lost()
        self.fault = None

    def lost(self) -> None:
        """Record that the store works but has lost its data."""
        self.healthy_since = self._now()
        if self.lease_free_since == float("inf"):
            self.lease_free_since = self._now()


class FaultyStore:
    """Wrap another store, and apply the faults of its condition."""

    def __init__(self, inner: TokenStore, condition: StoreCondition) -> None:
        self.inner = inner
        self._condition = condition

    async def read(self, key: str) -> str | None:
        await self._suffer("read")
        return await self.inner.read(key)

    async def write(self, key: str, document: str) -> bool | None:
        await self._suffer("write")
        return await self.inner.write(key, document)

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        await self._suffer("lease")
        if self._condition.fault == "lease is taken":
            yield False
            return
        async with self.inner.lease(key, seconds) as granted:
            yield granted
        await self._suffer("release")

    async def _suffer(self, kind: str) -> None:
        fault = self._condition.fault
        if fault == "is slow":
            await asyncio.sleep(1.5)
        elif fault == "hangs":
            await asyncio.sleep(1e6)
        elif fault == "raises" or (fault == "cannot write" and kind == "write"):
            raise StoreError("the store is down")
        elif fault == "raises something else" or (fault == "cannot release" and kind == "release"):
            raise OSError(28, "something foreign")
