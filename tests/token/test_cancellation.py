"""A cancellation that nobody meant for us, and one that somebody swallowed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NoReturn

import pytest

from truecaller_vbc import Credentials, MemoryStore, SessionClosedError, TokenError

from .virtual_time import run_virtual
from .world import CREDENTIALS, world


class CancelledStore(MemoryStore):
    """Its driver has a task of its own, which somebody cancelled."""

    __slots__ = ("broken", "reads")

    def __init__(self) -> None:
        super().__init__()
        self.broken, self.reads = False, 0

    async def read(self, key: str) -> str | None:
        self.reads += 1
        if self.broken:
            await _cancelled()
        return await super().read(key)


async def _cancelled() -> NoReturn:
    waited_for = asyncio.get_running_loop().create_future()
    waited_for.cancel()
    await waited_for
    raise AssertionError


def test_callable_whose_own_wait_was_cancelled_has_failed() -> None:
    """It is a failure like any other: typed, remembered, and not asked for by every caller anew."""
    asked = 0

    async def vault() -> Credentials:
        nonlocal asked
        asked += 1
        await _cancelled()

    async def main() -> None:
        async with world(source=vault) as it:
            for _ in range(5):
                with pytest.raises(TokenError, match="CancelledError"):
                    await it.holder.token()

    run_virtual(main())
    assert asked == 1


def test_store_whose_own_wait_was_cancelled_is_down() -> None:
    """The background does not look at it again and again without a pause, and the token lives on."""
    store = CancelledStore()

    async def main() -> None:
        async with world(store=store) as it:
            token = await it.holder.token()
            store.broken = True
            for _ in range(50):
                await asyncio.sleep(60)
                assert await it.holder.token() is token
            assert store.reads < 40
            assert "StoreUnavailable" in it.kinds()

    run_virtual(main())


def test_endpoint_whose_own_wait_was_cancelled_has_failed() -> None:
    """A session of the user's that is closed cancels what resolves its names: ours is not closed by that."""

    async def main() -> None:
        async with world() as it:

            async def mint(*_: object) -> NoReturn:
                it.server.calls += 1
                await _cancelled()

            it.server.mint = mint  # type: ignore[method-assign, assignment]
            for _ in range(5):
                with pytest.raises(TokenError, match="unexpected"):
                    await it.holder.token()
            assert it.server.calls == 1

    run_virtual(main())


@pytest.mark.parametrize("shared", [False, True])
def test_closed_in_spite_of_a_callable_that_swallows_it(shared: bool) -> None:
    """Nothing is bought after `close`, nobody gets a token of a closed session, and no task is left."""

    async def vault() -> Credentials:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        return CREDENTIALS

    async def main() -> None:
        async with world(source=vault, store=MemoryStore() if shared else None) as it:
            caller = asyncio.create_task(it.holder.token())
            await asyncio.sleep(1)
            await it.holder.close()
            with pytest.raises(SessionClosedError):
                await caller
            assert (it.holder.state.current, it.server.calls) == (None, 0)
            assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


def test_closed_in_spite_of_a_store_that_swallows_it() -> None:
    """The token that came nevertheless is in the store, and no background is started for it."""

    class Deaf(MemoryStore):
        __slots__ = ()

        async def write(self, key: str, document: str) -> bool:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1)
            return await super().write(key, document)

    async def main() -> None:
        async with world(store=Deaf()) as it:
            caller = asyncio.create_task(it.holder.token())
            await asyncio.sleep(1.5)
            await it.holder.close()
            with pytest.raises(SessionClosedError):
                await caller
            assert it.holder.state.current is None
            assert len(asyncio.all_tasks()) == 1

    run_virtual(main())
