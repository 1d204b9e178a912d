"""A session without a store: its books are all there is, and nothing is lost for want of a document."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from truecaller_vbc import Credentials, MemoryStore, TokenAdopted, TokenMinted

from .virtual_time import run_virtual
from .world import world

BEFORE, BETWEEN = Credentials("account", "key", "secret"), Credentials("account", "other", "rotated")


@pytest.mark.parametrize("shared", [False, True])
def test_token_of_an_earlier_key_is_still_good(shared: bool) -> None:
    """A vault that goes from one key to another and back finds the first one's token again, and nothing is minted."""

    async def main() -> None:
        given = [BEFORE, BETWEEN, BEFORE]
        async with world(source=lambda: given.pop(0), store=MemoryStore() if shared else None) as it:
            first = await it.holder.token()
            it.server.accepts = "rotated"
            await asyncio.sleep(2710)  # the background refreshes with the other key
            second = await it.holder.token()
            assert second != first

            it.server.revoke_all()
            it.server.made[first.value].live = True
            it.server.accepts = "secret"
            assert it.holder.rejected(second)
            again = await it.holder.replacement(second)

            assert again.value == first.value
            assert given == []
            assert it.server.mints == 2
            assert [type(event) for event in it.events if isinstance(event, TokenMinted | TokenAdopted)] == [
                TokenMinted,
                TokenMinted,
                TokenAdopted,
            ]

    run_virtual(main())


@pytest.mark.parametrize("shared", [False, True])
def test_books_do_not_grow(shared: bool) -> None:
    """After a week of mints there is no more in them than after an hour."""

    async def main() -> None:
        async with world(store=MemoryStore() if shared else None) as it:
            for _ in range(7 * 24 * 6):
                await it.holder.token()
                await asyncio.sleep(600)
            state = it.holder.state
            assert it.server.mints > 100
            assert len(state.ledger.attempts) <= 1
            assert len(state.times) <= 160
            assert len(state._keys) == 1

    run_virtual(main())


FIRST_MINT = """
import asyncio, sys
from truecaller_vbc import VBCSession
from truecaller_vbc.sandbox import Sandbox

async def main(store):
    async with Sandbox() as sandbox, VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=store) as vbc:
        await vbc.token()
    return [name for name in ("cattrs", "filelock", "redis") if name in sys.modules]

print(asyncio.run(main(None)), asyncio.run(main("memory://")))
"""


def test_first_mint_imports_no_converter() -> None:
    """Where nothing is shared no document is made, and what makes documents is not waited for."""
    done = subprocess.run([sys.executable, "-c", FIRST_MINT], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.split("\n")[0] == "[] ['cattrs']"
