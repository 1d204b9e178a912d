"""Test that tokens of earlier keys are kept, and that memory is bounded."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import attrs
import pytest

from truecaller_vbc import Credentials, MemoryStore, TokenAdopted, TokenMinted, TokenPolicy
from truecaller_vbc.token.document import dump, load
from truecaller_vbc.token.endpoint import Answer, MintResult
from truecaller_vbc.token.exchange import Exchange
from truecaller_vbc.token.ledger import Attempt, Outcome
from truecaller_vbc.token.state import AccountState

from .virtual_time import run_virtual
from .world import world

BEFORE, BETWEEN = Credentials("account", "key", "secret"), Credentials("account", "other", "rotated")


@pytest.mark.parametrize("shared", [False, True])
def test_token_of_an_earlier_key_is_used_again(shared: bool) -> None:
    """When a vault returns to an earlier key, the token of that key is used again without a mint."""

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
            assert await it.holder.rejected(second)
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


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_state_does_not_grow(shared: bool) -> None:
    """The memory of a session does not grow with its mints."""

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


@pytest.mark.slow
def test_first_mint_imports_no_converter() -> None:
    """A session without a store does not import cattrs, which only documents need."""
    done = subprocess.run([sys.executable, "-c", FIRST_MINT], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.split("\n")[0] == "[] ['cattrs']"


_DAY = 86_400.0


@attrs.define
class _Calendar:
    at: float = 1e6

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1.7e9 + self.at


def _minted_by(key_id: str, text: str | None, clock: _Calendar) -> str:
    policy, now = TokenPolicy(), clock.now()
    state = AccountState(policy)
    state.credentials = Credentials("account", key_id, "secret")
    exchange = Exchange(state, policy)
    exchange.merge_document(load(text), now, clock.wall() - now)
    answer = Answer(Outcome.MINTED, MintResult("t" * 1200, None, 0.0))
    state.answered(Attempt(key_id, now), answer, now, now, clock.wall() - now)
    return dump(exchange.to_document(now, clock.wall() - now))


def test_document_forgets_keys_that_are_out_of_use() -> None:
    """The document does not grow when a vault makes a new key every day."""
    clock, text = _Calendar(), None
    sizes: list[int] = []
    for day in range(365):
        text = _minted_by(f"key-{day}", text, clock)
        sizes.append(len(text))
        clock.at += _DAY
    assert max(sizes) < 2 * sizes[0]
    assert text is not None
    assert load(text).revision == len(sizes)


def test_document_keeps_live_tokens_of_other_keys() -> None:
    """The token of another key stays in the document until it has ended."""
    clock = _Calendar()
    text = _minted_by("one", None, clock)
    clock.at += 3590
    text = _minted_by("two", text, clock)
    assert len(load(text).keys) == 2
    clock.at += 20
    assert len(load(_minted_by("two", text, clock)).keys) == 1
