"""Revoke tokens of a pool in the middle of a push: no record is lost or sent twice, and no mint is wasted."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pytest

from truecaller_vbc import PoolEnded, TokenMinted, TokenRejected, UnauthorizedError, VBCSession

from ..token.virtual_time import run_virtual
from .pool_session import pool_session, records

DEAD_TOKEN: Final = pytest.mark.parametrize("dead_token", ["401", "500"])


async def _pushed(vbc: VBCSession, batches: int) -> Counter[str]:
    """Push full batches; return their outcomes."""
    return Counter([result.outcome async for result in vbc.calls.push_all(records(500 * batches))])


@DEAD_TOKEN
def test_server_that_ends_older_tokens(dead_token: Any) -> None:
    """The pool is given up in the middle of a push, with one mint, and stays so."""

    async def main() -> None:
        async with pool_session(3, revoke_previous=True, dead_token=dead_token) as (sandbox, vbc, events):
            assert await _pushed(vbc, 90) == {"acknowledged": 90}
            assert len(sandbox.accepted) == 45_000
            assert set(sandbox.accepted.values()) == {1}
            assert sandbox.mints == 2
            assert [type(event) for event in events] == [TokenMinted, TokenMinted, PoolEnded]
            assert len(vbc.status().tokens) == 1

    run_virtual(main())


@pytest.mark.parametrize(("batches", "dead_token"), [(62, "401"), (100, "500"), (100, "401"), (170, "500")])
def test_all_tokens_revoked(batches: int, dead_token: Any) -> None:
    """One mint replaces them, and the pool grows again, wherever in the push that happens."""

    async def main() -> None:
        async with pool_session(3, dead_token=dead_token) as (sandbox, vbc, events):
            outcomes: Counter[str] = Counter()
            mints = 0
            async for result in vbc.calls.push_all(records(500 * 200)):
                outcomes[result.outcome] += 1
                if outcomes.total() == batches:
                    mints = sandbox.mints
                    sandbox.revoke_all()
            assert outcomes == {"acknowledged": 200}
            assert len(sandbox.accepted) == 100_000
            assert set(sandbox.accepted.values()) == {1}
            assert sandbox.mints <= mints + 3
            assert {type(event) for event in events} == {TokenMinted, TokenRejected}

    run_virtual(main())


def test_endpoint_that_refuses_every_token() -> None:
    """It costs one mint; the older token goes on to be used elsewhere."""

    async def main() -> None:
        async with pool_session(2) as (sandbox, vbc, events):
            await _pushed(vbc, 90)
            sandbox.set_outage("numbers", status=401)
            for _ in range(20):
                with pytest.raises(UnauthorizedError):
                    [number async for number in vbc.numbers.numbers()]
            assert sandbox.mints <= 3
            assert await _pushed(vbc, 90) == {"acknowledged": 90}
            assert sandbox.mints <= 3
            assert not any(isinstance(event, PoolEnded) for event in events)

    run_virtual(main())
