"""A store that fails as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal, TypeAlias, get_args

from truecaller_vbc.errors import StoreError
from truecaller_vbc.stores import TokenStore

StoreMood: TypeAlias = Literal[
    "raises", "raises something else", "hangs", "is slow", "cannot write", "cannot release", "lease is taken"
]
MOODS: Final[tuple[StoreMood, ...]] = get_args(StoreMood)


class Condition:
    """What state the store of a world is in, for all the sessions that share it.

    Attributes:
        mood: None while it works.
        healthy_since: when it last began to work; infinity while it does not.
        lease_free_since: when the lease was last given by the rules; infinity while somebody else has it.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.mood: StoreMood | None = None
        self.healthy_since = float("-inf")
        self.lease_free_since = float("-inf")

    def fail(self, mood: StoreMood) -> None:
        self.mood = mood
        self.healthy_since = float("inf")
        if mood in ("lease is taken", "is slow", "hangs"):
            self.lease_free_since = float("inf")

    def mend(self) -> None:
        if self.mood is not None:
            self.lost()
        self.mood = None

    def lost(self) -> None:
        """It works, and has forgotten something."""
        self.healthy_since = self._now()
        if self.lease_free_since == float("inf"):
            self.lease_free_since = self._now()


class FickleStore:
    """Another store, in the condition that its world gives it."""

    def __init__(self, inner: TokenStore, condition: Condition) -> None:
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
        if self._condition.mood == "lease is taken":
            yield False
            return
        async with self.inner.lease(key, seconds) as granted:
            yield granted
        await self._suffer("release")

    async def _suffer(self, kind: str) -> None:
        mood = self._condition.mood
        if mood == "is slow":
            await asyncio.sleep(1.5)
        elif mood == "hangs":
            await asyncio.sleep(1e6)
        elif mood == "raises" or (mood == "cannot write" and kind == "write"):
            raise StoreError("the store is down")
        elif mood == "raises something else" or (mood == "cannot release" and kind == "release"):
            raise OSError(28, "something foreign")
