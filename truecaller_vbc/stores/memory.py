"""The store of one process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from .protocol import revision_of


class MemoryStore:
    """Keeps documents in this object. Sessions that are given the same one share their token.

    It has no locks and awaits nothing, so it is bound to no event loop, and nothing of it outlives the process.
    """

    __slots__ = ("_documents", "_leased")

    def __init__(self) -> None:
        self._documents: dict[str, str] = {}
        self._leased: dict[str, object] = {}

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
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:  # noqa: ARG002
        """Yields True unless somebody else has the lease. Here an owner cannot die without leaving the block."""
        me = object()
        if self._leased.setdefault(key, me) is not me:  # one step, so that sessions in two threads may share it
            yield False
            return
        try:
            yield True
        finally:
            del self._leased[key]
