"""A store that fails on command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias, get_args

from truecaller_vbc import FileStore, MemoryStore
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
        reached: called with what a session does next, if set.
        lease_free_since: when leases were last granted correctly; infinity while they are not.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.reached: Callable[[str, str | None], Awaitable[None]] | None = None
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
        await self._suffer("read", key)
        return await self.inner.read(key)

    async def write(self, key: str, document: str) -> bool | None:
        await self._suffer("write", key)
        return await self.inner.write(key, document)

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        await self._suffer("lease", key)
        if self._condition.fault == "lease is taken":
            yield False
            return
        async with self.inner.lease(key, seconds) as granted:
            if granted:
                await self._reach("granted", key)
            yield granted
        await self._suffer("release", key)

    async def _reach(self, point: str, key: str | None = None) -> None:
        if self._condition.reached is not None:
            await self._condition.reached(point, key)

    async def _suffer(self, kind: str, key: str | None = None) -> None:
        await self._reach(kind, key)
        fault = self._condition.fault
        if fault == "is slow":
            await asyncio.sleep(1.5)
        elif fault == "hangs":
            await asyncio.sleep(1e6)
        elif fault == "raises" or (fault == "cannot write" and kind == "write"):
            raise StoreError("the store is down")
        elif fault == "raises something else" or (fault == "cannot release" and kind == "release"):
            raise OSError(28, "something foreign")


class ClockedStore(FaultyStore):
    """A faulty store with a clock of its own."""

    def __init__(self, inner: TokenStore, condition: StoreCondition, time: Callable[[], float]) -> None:
        super().__init__(inner, condition)
        self._time = time

    async def now(self) -> float:
        await self._suffer("now")
        return self._time()


def documents_in(store: FaultyStore) -> dict[str, str]:
    """Return all documents of a store by their keys, without using the store."""
    inner = store.inner
    if isinstance(inner, MemoryStore):
        return dict(inner._documents)
    assert isinstance(inner, FileStore)
    try:
        return {str(key): str(text) for key, text in json.loads(inner._path.read_text())["documents"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def replace_document(store: FaultyStore, key: str, document: str) -> None:
    """Put a document into a store, whatever the store would say to it."""
    inner = store.inner
    if isinstance(inner, MemoryStore):
        inner._documents[key] = document
        return
    assert isinstance(inner, FileStore)
    inner._path.write_text(json.dumps({"documents": {**documents_in(store), key: document}}))
