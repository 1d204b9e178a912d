"""The store of one process."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from .protocol import revision_of


class MemoryStore:
    """Keeps documents in this object. Sessions that are given the same one share their token.

    It awaits nothing, so it is bound to no event loop, and nothing of it outlives the process.
    """

    __slots__ = ("_documents", "_guard", "_leased")

    def __init__(self) -> None:
        self._documents: dict[str, str] = {}
        self._leased: dict[str, float] = {}
        self._guard = threading.Lock()

    async def read(self, key: str) -> str | None:
        """The document at `key`, or None."""
        return self._documents.get(key)

    async def write(self, key: str, document: str) -> bool:
        """Keep `document` at `key` unless what is there is newer; then False."""
        if revision_of(self._documents.get(key)) >= revision_of(document):
            return False
        self._documents[key] = document
        return True

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        """Yields True unless somebody else has the lease, who may have left it behind in a loop that was closed."""
        until = self._taken(key, seconds)
        if until is None:
            yield False
            return
        try:
            yield True
        finally:
            with self._guard:
                if self._leased.get(key) is until:
                    del self._leased[key]

    def _taken(self, key: str, seconds: float) -> float | None:
        """When the lease ends, or None where another has it. Sessions in two threads may ask at once."""
        with self._guard:
            now = time.monotonic()
            if now < self._leased.get(key, now):
                return None
            self._leased[key] = until = now + seconds
            return until
