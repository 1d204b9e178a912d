"""Store documents in memory, for one process."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from .protocol import revision_of


class MemoryStore:
    """Keep documents in this object. Sessions that are given the same object share their token.

    It never waits, so it works on any event loop, and its content ends with the process.
    """

    __slots__ = ("_documents", "_guard", "_leased")

    def __init__(self) -> None:
        self._documents: dict[str, str] = {}
        self._leased: dict[str, float] = {}
        self._guard = threading.Lock()

    async def read(self, key: str) -> str | None:
        """Return the document at `key`, or None."""
        return self._documents.get(key)

    async def write(self, key: str, document: str) -> bool:
        """Store `document` at `key` unless the stored one is newer; then return False."""
        if revision_of(self._documents.get(key)) >= revision_of(document):
            return False
        self._documents[key] = document
        return True

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        """Yield True unless the lease is held; a lease left behind on a closed loop ends after its seconds."""
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
        """Return when the new lease ends, or None if it is held. Locked, since sessions may run in several threads."""
        with self._guard:
            now = time.monotonic()
            if now < self._leased.get(key, now):
                return None
            self._leased[key] = until = now + seconds
            return until
