"""A process that loses its lease before its mint, and one whose store stops working after it gave a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from truecaller_vbc import MemoryStore
from truecaller_vbc.stores.protocol import StoreUnusableError

from .virtual_time import run_virtual
from .world import World, world


class LateStore(MemoryStore):
    """A store of a process that is stopped before its first write, until its lease has ended."""

    is_late = True

    async def write(self, key: str, document: str) -> bool:
        if self.is_late:
            self.is_late = False
            await asyncio.sleep(2)
        return await super().write(key, document)

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncIterator[bool]:
        yield True


def test_process_that_was_stopped_for_longer_than_its_lease_adopts() -> None:
    """A process that finds a newer token as it enters its attempt does not make it."""

    async def main() -> None:
        store = LateStore()
        async with world(store=store) as one:
            two = World(store=store, server=one.server)
            two.holder.open(None)
            late = asyncio.create_task(one.holder.token())
            await asyncio.sleep(0.1)
            token = await two.holder.token()
            assert (await late).value == token.value
            assert one.server.mints == 1
            assert one.kinds() == ["TokenAdopted"]
            assert one.holder.status().mints_in_window == 1
            await two.holder.close()

    run_virtual(main())


class ReadOnlyStore(MemoryStore):
    """A store that cannot be written any more."""

    is_read_only = False

    async def write(self, key: str, document: str) -> bool:
        if self.is_read_only:
            raise StoreUnusableError("the file system is read-only")
        return await super().write(key, document)


def test_store_that_gave_a_token_and_breaks_later_is_an_outage() -> None:
    """A process that has only adopted tokens goes on in memory as well when the store cannot be written any more."""

    async def main() -> None:
        store = ReadOnlyStore()
        async with world(store=store) as one:
            token = await one.holder.token()
            store.is_read_only = True
            two = World(store=store, server=one.server)
            two.holder.open(None)
            await two.holder.token()
            assert two.kinds() == ["TokenAdopted"]
            await asyncio.sleep(3_600)
            await two.holder.token()
            assert two.kinds()[-1] == "TokenMinted"
            await two.holder.close()
            late = World(store=store, server=one.server)
            late.holder.open(None)
            late.holder.state.reject(token, one.clock.now())
            with pytest.raises(StoreUnusableError):
                await late.holder.token()
            await late.holder.close()

    run_virtual(main())
