"""Store documents in memory, for one process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Never, SupportsIndex

from ..errors import StoreRefusedError
from .protocol import revision_of


class MemoryStore:
    """Keep documents in this object. Sessions that are given the same object share their token.

    It never waits, so it works on any event loop, and its content ends with the process.
    """

    __slots__ = ("_documents", "_guard", "_leased", "_process")

    def __init__(self) -> None:
        self._documents: dict[str, str] = {}
        self._leased: dict[str, float] = {}
        self._guard = threading.Lock()
        self._process = os.getpid()

    async def read(self, key: str) -> str | None:
        """Return the document at `key`, or None."""
        self._check_process()
        return self._documents.get(key)

    async def write(self, key: str, document: str) -> bool:
        """Store `document` at `key` unless the stored one is newer; then return False."""
        self._check_process()
        if revision_of(self._documents.get(key)) >= revision_of(document):
            return False
        self._documents[key] = document
        return True

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        """Yield True unless the lease is held; a lease left behind on a closed loop ends after its seconds."""
        self._check_process()
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

    def _check_process(self) -> None:
        # A forked process has a copy, in which it would spend mints that the others never hear of.
        if os.getpid() != self._process:
            raise _not_shared()

    def __reduce_ex__(self, protocol: SupportsIndex) -> Never:
        raise _not_shared()


def _not_shared() -> StoreRefusedError:
    return StoreRefusedError(
        "a MemoryStore is not shared between processes: use file:///path/token.json or redis://host instead"
    )
