"""Test the rates of a pool against a sandbox with the documented limits, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from truecaller_vbc import APIPolicy, RateLimitedError, SessionClosedError

from ..token.virtual_time import run_virtual
from .pool_session import pool_session, records
from .sandbox_session import record


@pytest.mark.parametrize(("tokens", "windows"), [(1, 2), (2, 1), (3, 0)])
def test_batches_have_the_rate_of_all_tokens(tokens: int, windows: int) -> None:
    """180 batches take two windows with one token, one with two, and no wait with three."""

    async def main() -> None:
        async with pool_session(tokens) as (sandbox, vbc, _):
            loop = asyncio.get_running_loop()
            began = loop.time()
            await asyncio.gather(*(vbc.calls.push_batch([one]) for one in records(180)))
            assert loop.time() - began == pytest.approx(windows * 61.2, abs=2)
            assert set(sandbox.accepted.values()) == {1}
            assert len(sandbox.accepted) == 180
            assert sandbox.mints == tokens
            assert 429 not in Counter(entry.status for entry in sandbox.log)

    run_virtual(main())


def test_burst_of_real_time_records() -> None:
    """150 at once wait for less than the pool's patience; 2,000 get further tokens."""

    async def main() -> None:
        async with pool_session(7) as (sandbox, vbc, _):
            await asyncio.gather(*(vbc.calls.push(one) for one in records(150)))
            assert sandbox.mints == 1
            await asyncio.sleep(5)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await asyncio.gather(*(vbc.calls.push(one) for one in records(2_000)))
            assert 3 < sandbox.mints <= 7
            assert loop.time() - began < 6
            assert all(entry.status != 429 for entry in sandbox.log)

    run_virtual(main())


def test_429_holds_its_token_only() -> None:
    """While one token is held, its call goes on with the other at once, and so do later ones."""

    async def main() -> None:
        async with pool_session(2) as (sandbox, vbc, _):
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(vbc.calls.push_batch([one]) for one in records(61)))
            await asyncio.sleep(62)
            sandbox.fail_next("batch", status=429, headers={"Retry-After": "40"})
            began = loop.time()
            await vbc.calls.push_batch([record(61)])
            assert loop.time() - began < 1
            first, second = [entry.fingerprint for entry in sandbox.log if "token" not in entry.path][-2:]
            assert first != second
            await asyncio.gather(*(vbc.calls.push_batch([one]) for one in records(120)[62:]))
            assert loop.time() - began < 1
            await asyncio.gather(*(vbc.calls.push_batch([one]) for one in records(200)[120:]))
            assert 30 <= loop.time() - began < 62
            assert sandbox.mints == 2

    run_virtual(main())


def test_429_of_every_token() -> None:
    """If all tokens are held, the call waits for the first that is not."""

    async def main() -> None:
        async with pool_session(2) as (sandbox, vbc, _):
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(vbc.calls.push_batch([one]) for one in records(61)))
            await asyncio.sleep(62)
            for seconds in (25, 15):
                sandbox.fail_next("batch", status=429, headers={"Retry-After": str(seconds)})
            began = loop.time()
            await vbc.calls.push_batch([record(61)])
            assert loop.time() - began == pytest.approx(15, abs=1)

    run_virtual(main())


def test_429_for_longer_than_the_patience() -> None:
    """A call gives up when its patience has passed, and the next one finds out for itself."""

    async def main() -> None:
        async with pool_session(2) as (sandbox, vbc, _):
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(vbc.calls.push_batch([one]) for one in records(61)))
            await asyncio.sleep(62)
            sandbox.set_outage("batch", status=429, headers={"Retry-After": "3600"})
            began = loop.time()
            with pytest.raises(RateLimitedError):
                await vbc.calls.push_batch([record(61)])
            assert loop.time() - began <= APIPolicy().patience.total_seconds() + 2
            sandbox.end_outage("batch")
            await vbc.calls.push_batch([record(62)])
            assert loop.time() - began <= APIPolicy().patience.total_seconds() + 2

    run_virtual(main())


def test_429_without_patience() -> None:
    """A call that may not wait goes on with a token that is free, and fails at once if none is."""

    async def main() -> None:
        async with pool_session(2, api=APIPolicy(patience=0)) as (sandbox, vbc, _):
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(vbc.calls.push_batch([one]) for one in records(61)))
            await asyncio.sleep(62)
            began = loop.time()
            sandbox.fail_next("batch", status=429, headers={"Retry-After": "30"})
            await vbc.calls.push_batch([record(61)])
            sandbox.fail_next("batch", status=429, headers={"Retry-After": "30"})
            with pytest.raises(RateLimitedError):
                await vbc.calls.push_batch([record(62)])
            assert loop.time() - began < 1
            assert len(sandbox.accepted) == 62

    run_virtual(main())


def test_failed_mint_is_tried_again_while_calls_wait() -> None:
    """A further token that could not be had is asked for again by itself, in time for the waiting calls."""

    async def main() -> None:
        async with pool_session(2, api=APIPolicy(batch_window=600)) as (sandbox, vbc, _):
            loop = asyncio.get_running_loop()
            await vbc.token()
            sandbox.fail_next("token", status=503)
            began = loop.time()
            await asyncio.gather(*(vbc.calls.push_batch([one]) for one in records(61)))
            assert 25 < loop.time() - began < 95
            assert sandbox.mints == 2

    run_virtual(main())


def test_token_that_ends_while_calls_wait() -> None:
    """Its place is taken by a further token, without a new call."""

    async def main() -> None:
        async with pool_session(2, api=APIPolicy(batch_window=300)) as (sandbox, vbc, _):
            await vbc.token()
            await asyncio.sleep(3_000)
            await asyncio.gather(*(vbc.calls.push_batch([one]) for one in records(61)))
            assert sandbox.mints == 2
            waiting = [asyncio.create_task(vbc.calls.push_batch([one])) for one in records(500)[61:]]
            await asyncio.sleep(1_000)
            assert sandbox.mints == 3
            assert len(vbc.status().tokens) == 2
            for call in waiting:
                call.cancel()
            await asyncio.wait(waiting)

    run_virtual(main())


def test_other_requests_use_the_current_token() -> None:
    """Labels are read with the token that lives longest."""

    async def main() -> None:
        async with pool_session(2) as (sandbox, vbc, _):
            await asyncio.gather(*(vbc.calls.push_batch([one]) for one in records(61)))
            token = await vbc.token()
            assert token.fingerprint == vbc.status().tokens[0].fingerprint
            await vbc.labels.list()
            assert sandbox.log[-1].fingerprint == token.fingerprint

    run_virtual(main())


def test_closing_a_session_whose_calls_wait_for_a_token() -> None:
    """Calls that wait fail, and no timer is left."""

    async def main() -> None:
        async with pool_session(2) as (sandbox, vbc, _):
            await vbc.token()
            sandbox.set_outage("token", status=503)
            calls = [asyncio.create_task(vbc.calls.push_batch([one])) for one in records(61)]
            await asyncio.sleep(5)
            assert vbc.status().calls_waiting == 1
            pool = vbc._holder.state.pool
            assert pool is not None
            assert pool.timer is not None
            await vbc.close()
            assert pool.timer.cancelled()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(result) for result in results].count(SessionClosedError) == 1

    run_virtual(main())
