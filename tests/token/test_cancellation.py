"""Cancellations inside foreign code that are not meant for us, and our own that foreign code swallows."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NoReturn

import pytest

from truecaller_vbc import Credentials, MemoryStore, SessionClosedError, TokenError

from .virtual_time import run_virtual
from .world import CREDENTIALS, world


class CancelledStore(MemoryStore):
    """A store whose driver waits for a task that is cancelled."""

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


def test_cancelled_error_from_a_callable_is_a_failure() -> None:
    """A credentials callable that raises CancelledError has failed with a typed, remembered error."""
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


def test_cancelled_error_from_a_store_is_an_outage() -> None:
    """A store call that raises CancelledError has failed. The background pauses, and the token stays valid."""
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


def test_cancelled_error_from_the_endpoint_is_a_failure() -> None:
    """A token request that raises CancelledError has failed; aiohttp raises it when the user's session is closed."""

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
def test_close_works_though_a_callable_swallows_cancellation(shared: bool) -> None:
    """After `close` no token is minted or returned and no task is left, though the callable swallows cancellation."""

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


def test_close_works_though_a_store_swallows_cancellation() -> None:
    """After `close` no background task is started, though the store swallows cancellation."""

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
