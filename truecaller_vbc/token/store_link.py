"""The way to the store: a deadline on every call, and its failures told once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from ..errors import StoreError, StoreRefusedError
from ..stores.protocol import TokenStore, revision_of
from . import cancellation
from .document import Document, dump, load
from .events import StoreRecovered, StoreUnavailable, TokenEvent

_log = logging.getLogger("truecaller_vbc")
_T = TypeVar("_T")
_NOTHING: Final[frozenset[str]] = frozenset()


class StoreDown(Exception):  # noqa: N818 - a state, and never anybody's error
    """A store call failed or took too long."""


class StoreLink:
    """A store whose every failure is `StoreDown`, but for a `StoreRefusedError`, which is a matter for people.

    Args:
        store: anybody's.
        deadline: seconds for one call.
        announce: told when the store goes and comes back.
    """

    __slots__ = ("_announce", "_deadline", "_failing", "_store")

    def __init__(self, store: TokenStore, deadline: float, announce: Callable[[TokenEvent], None]) -> None:
        self._store = store
        self._deadline = deadline
        self._announce = announce
        self._failing = _NOTHING

    @property
    def down(self) -> bool:
        """Whether it could not be read, or not be asked for a lease, when that was last tried."""
        return bool(self._failing - {"write", "release"})

    async def read(self, key: str) -> Document:
        """The document at `key`; an empty one where there is none, or none that can be read."""
        text = await self._call("read", self._store.read(key))
        try:
            return load(text)
        except ValueError as error:
            _log.warning("the token store has %s; the next mint replaces it", error)
            return Document(revision=max(0, revision_of(text)))

    async def write(self, key: str, document: Document) -> bool:
        """Whether the store kept it; False where it has a newer one."""
        return await self._call("write", self._store.write(key, dump(document))) is not False

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        """The store's lease. One that cannot be given back ends by itself and takes no token with it."""
        lease = self._store.lease(key, seconds)
        granted = await self._call("lease", lease.__aenter__())
        try:
            yield granted
        finally:
            try:
                await self._call("release", lease.__aexit__(None, None, None))
            except (StoreDown, StoreRefusedError):
                _log.debug("a lease could not be given back; it ends by itself")

    async def _call(self, kind: str, call: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._deadline):
                result = await call
        except StoreRefusedError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            cancellation.let_through(error)
            # Without a cause: what a store's driver raises may quote the document.
            reason = str(error) if isinstance(error, StoreError) else type(error).__name__
            self._failed(kind, reason)
            raise StoreDown(reason) from None
        self._worked(kind)
        return result

    def _failed(self, kind: str, reason: str) -> None:
        if not self._failing:
            self._announce(StoreUnavailable(reason))
        self._failing |= {kind}

    def _worked(self, kind: str) -> None:
        # Only the same kind of call shows that it works again: a full disk can still be read.
        if kind in self._failing:
            self._failing -= {kind}
            if not self._failing:
                self._announce(StoreRecovered())
