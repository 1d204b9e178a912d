"""Test the pace of typed calls with a pool of tokens, against the sandbox with its limits by token."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from truecaller_vbc import APIPolicy, CallRecord, MemoryStore, PaceExceededError, TokenPolicy, VBCSession
from truecaller_vbc.api.pooled_limit import PooledLimiter
from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules
from truecaller_vbc.token.model import AccessToken

LABEL = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
WINDOW = 0.5
# Two records in half a second by token.
PACE = APIPolicy(realtime_rate=2, realtime_window=WINDOW, batch_rate=2, batch_window=WINDOW)


def _record(number: int = 0) -> CallRecord:
    now = int(time.time() * 1000)
    return CallRecord(
        caller_number="+911234567890",
        receiver_number=f"+9198765{number + 500:05}",
        starts_at=now,
        ends_at=now + 3_600_000,
        label_id=LABEL,
    )


def _session(sandbox: Sandbox, tokens: int, **options: Any) -> VBCSession:
    policy = TokenPolicy(tokens=tokens, pool_wait=0.2, rejection_grace=0)
    return VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=policy, api_policy=PACE, **options)


async def test_calls_use_all_tokens() -> None:
    """Calls that would wait get further tokens, up to the size of the pool, and each token keeps its pace."""
    async with Sandbox(SandboxRules(api=ApiRules(realtime_per_second=5))) as sandbox, _session(sandbox, 3) as vbc:
        await asyncio.gather(*(vbc.calls.push(_record(number)) for number in range(30)))
        assert sandbox.mints == 3
        assert len(vbc.status().tokens) == 3
        limiter = vbc.calls._client.realtime
        assert isinstance(limiter, PooledLimiter)
        assert len(limiter._paces) == 3
        assert sandbox.accepted.total() == 30


async def test_calls_without_a_queue_mint_one_token() -> None:
    """A pool that is not needed has one token."""
    async with Sandbox() as sandbox, _session(sandbox, 3) as vbc:
        for number in range(3):
            await vbc.calls.push(_record(number))
            await asyncio.sleep(WINDOW / 2)
        assert sandbox.mints == 1


async def test_sessions_share_the_pool() -> None:
    """Two sessions with one store use the same tokens, and mint as many as one."""
    store = MemoryStore()
    async with Sandbox() as sandbox, _session(sandbox, 2, store=store) as one, _session(sandbox, 2, store=store) as two:
        await asyncio.gather(*(vbc.calls.push(_record(number)) for number in range(10) for vbc in (one, two)))
        assert sandbox.mints == 2


async def test_tokens_that_all_end_in_the_queue() -> None:
    """A call whose tokens have ended while it waited is sent with one that the session gets."""
    async with Sandbox() as sandbox, _session(sandbox, 2) as vbc:
        await asyncio.gather(*(vbc.calls.push(_record(number)) for number in range(4)))
        waiting = asyncio.create_task(vbc.calls.push(_record()))
        await asyncio.sleep(0)
        vbc._holder.state.drop()
        pool = vbc._holder.state.pool
        assert pool is not None
        pool.older = ()
        vbc._holder._clear_fast_token()
        await waiting
        assert sandbox.accepted.total() == 5


async def test_proof_asks_once_and_survives_errors() -> None:
    """The first growth asks for the labels with the older token; a failure of that disturbs nothing."""
    async with Sandbox() as sandbox, _session(sandbox, 3) as vbc:
        sandbox.fail_next("labels", status=503, times=2)
        await asyncio.gather(*(vbc.calls.push(_record(number)) for number in range(12)))
        assert sandbox.mints == 3
        asked = [record for record in sandbox.log if record.path.endswith("/labels")]
        assert 1 <= len(asked) <= 3
        assert sandbox.accepted.total() == 12


async def test_wait_is_limited_and_a_cancelled_start_is_given_back() -> None:
    """`max_wait` ends a wait in the queue of a pool; a caller that is cancelled leaves its place."""

    class Tokens:
        listeners: list[Any] = []  # noqa: RUF012 - of one test
        patience = 100.0
        asked = 0

        def live_tokens(self) -> list[AccessToken]:
            return [AccessToken("a", None, None)]  # type: ignore[arg-type]

        def unproven(self) -> None:
            return None

        def grow(self) -> None:
            self.asked += 1

    limiter = PooledLimiter(1, 0.2, Tokens())
    assert (await limiter.start(None))[0] == 0.0
    with pytest.raises(PaceExceededError):
        await limiter.start(0.01)
    waiting = [asyncio.create_task(limiter.start(None)) for _ in range(2)]
    await asyncio.sleep(0)
    assert limiter.waiting == 2
    limiter._tokens_changed()
    limiter._wake(asyncio.get_running_loop(), limiter.next_start())
    waiting[0].cancel()  # granted in this turn
    assert (await waiting[1])[0] > 0
    assert Tokens.asked == 0
    limiter.close()
