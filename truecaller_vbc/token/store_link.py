"""The way to the store: a deadline on every call, and its failures told once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from ..errors import StoreError
from ..stores.protocol import TokenStore
from .document import Document, dump, load
from .events import StoreRecovered, StoreUnavailable, TokenEvent

_log = logging.getLogger("truecaller_vbc")
_T = TypeVar("_T")


class StoreDown(Exception):  # noqa: N818 - a state, and never anybody's error
    """A store call failed or took too long."""


class StoreLink:
    """A store whose every failure is `StoreDown`.

    Args:
        store: anybody's.
        deadline: seconds for one call.
        announce: told when the store goes and comes back.
    """

    __slots__ = ("_announce", "_deadline", "_store", "down")

    def __init__(self, store: TokenStore, deadline: float, announce: Callable[[TokenEvent], None]) -> None:
        self._store = store
        self._deadline = deadline
        self._announce = announce
        self.down = False

    async def read(self, key: str) -> Document:
        """The document at `key`; an empty one where there is none, or none that can be read."""
        text = await self._call(self._store.read(key))
        try:
            return load(text)
        except ValueError as error:
            _log.warning("the token store has %s; the next mint replaces it", error)
            return Document()

    async def write(self, key: str, document: Document) -> bool:
        """Whether the store kept it; False where it has a newer one."""
        return await self._call(self._store.write(key, dump(document))) is not False

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncIterator[bool]:
        """The store's lease. One that cannot be given back ends by itself and takes no token with it."""
        lease = self._store.lease(key, seconds)
        granted = await self._call(lease.__aenter__())
        try:
            yield granted
        finally:
            try:
                await self._call(lease.__aexit__(None, None, None))
            except StoreDown:
                _log.debug("a lease could not be given back; it ends by itself")

    async def _call(self, call: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._deadline):
                result = await call
        except Exception as error:
            # Without a cause: what a store's driver raises may quote the document.
            reason = str(error) if isinstance(error, StoreError) else type(error).__name__
            self._note(down=True, reason=reason)
            raise StoreDown(reason) from None
        self._note(down=False)
        return result

    def _note(self, *, down: bool, reason: str = "") -> None:
        if down is self.down:
            return
        self.down = down
        self._announce(StoreUnavailable(reason) if down else StoreRecovered())
