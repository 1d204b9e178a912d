"""The memory store across several event loops."""

from __future__ import annotations

import asyncio

from truecaller_vbc import MemoryStore

KEY = "k" * 32


def test_lease_in_a_loop_that_was_closed_runs_out() -> None:
    """A lease whose loop was closed ends after its seconds."""
    store = MemoryStore()
    loop = asyncio.new_event_loop()
    left_behind = store.lease(KEY, 0.05)
    assert loop.run_until_complete(left_behind.__aenter__())
    loop.close()

    async def later() -> None:
        async with store.lease(KEY, 30) as granted:
            assert not granted
        await asyncio.sleep(0.1)
        async with store.lease(KEY, 30) as granted:
            assert granted
            # The first owner must not end the lease of the second.
            await left_behind.__aexit__(None, None, None)
            async with store.lease(KEY, 30) as third:
                assert not third

    asyncio.run(later())
