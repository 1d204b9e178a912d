"""`vbc.calls` with the sandbox on a real socket."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from truecaller_vbc import (
    APIError,
    APIPolicy,
    BadRequestError,
    Batch,
    BatchStatus,
    ConfigurationError,
    FailureReason,
    InvalidRecordError,
    NotDeliveredError,
    NotFoundError,
    PushResult,
    RateLimitedError,
    SessionClosedError,
    Status,
    StillPendingError,
    UnknownOutcomeError,
    VBCSession,
)
from truecaller_vbc.sandbox import Sandbox

from ..token.virtual_time import run_virtual
from .api_world import FAST, HOUR, api_world, fields, posts, record


async def test_push() -> None:
    """One record, numbers without a plus, and success."""
    async with api_world() as (sandbox, vbc):
        result = await vbc.calls.push(record())

        assert result == PushResult(Status.SUCCESS, "Record processed successfully")
        assert sandbox.accepted == {int(fields()["receiver_number"]): 1}


@pytest.mark.parametrize(
    ("end", "reason"), [(1, "NOT_A_TRUECALLER_USER"), (2, "OS_NOT_SUPPORTED"), (4, "FAILED_TO_PUSH")]
)
@pytest.mark.parametrize("outcome_status", [200, 400])
async def test_push_that_cannot_arrive(end: int, reason: str, outcome_status: int) -> None:
    """The documented reasons are an error of their own, under any status."""
    async with api_world(outcome_status=outcome_status) as (_, vbc):
        with pytest.raises(NotDeliveredError) as caught:
            await vbc.calls.push(record(receiver_number=f"+919876{end:05}"))

    assert caught.value.reason is FailureReason[reason]


@pytest.mark.parametrize("envelope", ["E1", "E2", "E3", "E5"])
@pytest.mark.parametrize("validation_status", [200, 400, 422])
async def test_push_that_the_api_refuses(envelope: str, validation_status: int) -> None:
    """Every envelope, every status: one error, with the server's words; here the label is not one of the account."""
    async with api_world(envelope=envelope, validation_status=validation_status) as (sandbox, vbc):
        for refused in (vbc.calls.push(record(label_id="other")), vbc.calls.push_batch([record(label_id="other")])):
            with pytest.raises(BadRequestError, match="label") as caught:
                await refused
            assert caught.value.status == validation_status
        assert not sandbox.accepted
        assert len(sandbox.log) == 3  # the token, and each of them once


async def test_a_window_that_has_closed() -> None:
    """Judged when it is sent, and nothing is sent."""
    async with api_world() as (sandbox, vbc):
        late = record(starts_at=1_700_000_000_000, ends_at=1_700_000_000_000 + HOUR)
        for refused in (vbc.calls.push(late), vbc.calls.push_batch([record(), late])):
            with pytest.raises(InvalidRecordError, match="past"):
                await refused
        assert sandbox.token_requests == 0


@pytest.mark.parametrize("records", [[], [None], [record()] * 501, ["+911234567890"], [fields()]], ids=str)
async def test_a_batch_that_is_none(records: Any) -> None:
    """1 to 500 records, each of them one."""
    async with api_world() as (sandbox, vbc):
        with pytest.raises(InvalidRecordError):
            await vbc.calls.push_batch(records)
        assert sandbox.token_requests == 0


@pytest.mark.parametrize("version", ["v3", "v2"])
async def test_batch_from_push_to_status(version: Any) -> None:
    """500 records, and how each fared, by its own record."""
    given = [record(number) for number in range(499)] + [record(receiver_number="+919876500001")]
    async with api_world(data_order="shuffled", bad_record="record") as (sandbox, vbc):
        batch = await vbc.calls.push_batch(given, version=version)
        status = await vbc.calls.wait_for_batch(batch, timeout=5)

    assert (batch.version, batch.size, sandbox.batches) == (version, 500, {batch.batch_id: 500})
    assert status.final
    assert status.counts == {Status.SUCCESS: 499, Status.ERROR: 1}
    found = [status.find(one) for one in given]
    assert [one.receiver_number for one in found if one] == [one.receiver_number for one in given]
    assert found[-1] is not None
    assert found[-1].status_info.reason is FailureReason.NOT_A_TRUECALLER_USER
    assert status.find(record(7777)) is None


@pytest.mark.parametrize("pending", ["empty", "404", "missing", "pending"])
@pytest.mark.parametrize("status_key", ["status_info", "statusInfo"])
@pytest.mark.parametrize("sparse", [False, True])
def test_wait_for_batch(pending: str, status_key: str, sparse: bool) -> None:
    """Whatever the API says before it is done, waiting goes on, with pauses that grow."""

    async def main() -> tuple[BatchStatus, float, int]:
        rules: dict[str, Any] = {
            "batch_seconds": 100,
            "batch_pending": pending,
            "status_key": status_key,
            "sparse": sparse,
        }
        async with api_world(APIPolicy(), **rules) as (sandbox, vbc):
            batch = await vbc.calls.push_batch([record(), record(1)])
            status = await vbc.calls.wait_for_batch(batch, timeout=1000)
            return status, asyncio.get_running_loop().time(), posts(sandbox, "dynamic_call_records")

    status, took, requests = run_virtual(main())

    assert status.counts == {Status.SUCCESS: 2}
    assert 100 <= took <= 140
    assert requests < 20


def test_an_unknown_status_is_not_final() -> None:
    """It is kept as it is, and waiting ends at the deadline with what is known."""

    async def main() -> None:
        rules: dict[str, Any] = {"batch_seconds": 1e9, "batch_pending": "pending", "unknown_status": "simmering"}
        async with api_world(**rules) as (_, vbc):
            batch = await vbc.calls.push_batch([record()])
            with pytest.raises(StillPendingError, match="ask again later") as caught:
                await vbc.calls.wait_for_batch(batch, timeout=60)
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.pending is batch
            (one,) = caught.value.done.data
            assert (one.status, one.status.known, one.status.final) == ("simmering", False, False)

    run_virtual(main())


async def test_a_batch_that_nobody_knows() -> None:
    """Asked for once: an error. Waited for: it may still come, until the deadline."""
    async with api_world() as (_, vbc):
        with pytest.raises(NotFoundError):
            await vbc.calls.batch_status("d76s5-dfg9d-o32442-837467854")
        with pytest.raises(StillPendingError) as caught:
            await vbc.calls.wait_for_batch("d76s5-dfg9d-o32442-837467854", timeout=0.1)
        assert caught.value.done is None


async def test_an_id_is_no_way_into_the_query() -> None:
    """It is opaque, and encoded."""
    async with api_world() as (sandbox, vbc):
        with pytest.raises(NotFoundError):
            await vbc.calls.batch_status("x&batchId=y#z/../?\r\nA: b")
        assert sandbox.log[-1].path.endswith("/dynamic_call_records")


async def test_unknown_versions_are_named() -> None:
    """Before anything is sent."""
    async with api_world() as (sandbox, vbc):
        wrong: Any = "v1"
        with pytest.raises(ConfigurationError, match="v3, v2"):
            await vbc.calls.push_batch([record()], version=wrong)
        with pytest.raises(ConfigurationError, match="v3, v2"):
            vbc.calls.push_all([], version=wrong)
        with pytest.raises(ConfigurationError, match="v3, v2"):
            await vbc.calls.batch_status(Batch("a", wrong, 1))
        with pytest.raises(ConfigurationError, match="ID"):
            await vbc.calls.batch_status("")
        assert sandbox.token_requests == 0


@pytest.mark.slow
def test_the_documented_rates_are_kept() -> None:
    """100 real-time records a second and 60 batches a minute; the sandbox refuses none, and little time is lost."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with api_world(APIPolicy(), realtime_per_second=100, batch_per_minute=60) as (sandbox, vbc):
            await vbc.warm_up()
            began = loop.time()
            await asyncio.gather(*(vbc.calls.push(record(number)) for number in range(950)))
            assert 9 <= loop.time() - began < 9.5
            began = loop.time()
            await asyncio.gather(*(vbc.calls.push_batch([record(number)]) for number in range(130)))
            assert 120 <= loop.time() - began < 125
            assert {entry.status for entry in sandbox.log} == {200}

    run_virtual(main())


def test_a_busy_token_makes_everybody_wait() -> None:
    """Another process uses the same token: one 429 with Retry-After holds all coroutines, and none is lost."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with api_world(APIPolicy()) as (sandbox, vbc):
            await vbc.warm_up()
            sandbox.fail_next("batch", status=429, headers={"Retry-After": "50"}, times=2)
            began = loop.time()
            await asyncio.gather(*(vbc.calls.push_batch([record(number)]) for number in range(10)))
            assert 50 <= loop.time() - began < 52
            assert sum(sandbox.accepted.values()) == 10
            assert posts(sandbox, "dynamic_call_records") == 12

    run_virtual(main())


@pytest.mark.parametrize("retry_after", ["61", "3600", "Wed, 21 Oct 2099 07:28:00 GMT"])
async def test_more_patience_than_the_caller_has(retry_after: str) -> None:
    """Not waited for, and said."""
    async with api_world(APIPolicy()) as (sandbox, vbc):
        sandbox.fail_next("calls", status=429, headers={"Retry-After": retry_after})
        with pytest.raises(RateLimitedError) as caught:
            await vbc.calls.push(record())
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 60
        assert posts(sandbox, "dynamic_call_record") == 1


def test_rates_without_retry_after_are_found_out() -> None:
    """The server's limit is lower than ours: all is sent in the end."""

    async def main() -> None:
        async with api_world(APIPolicy(), realtime_per_second=20) as (sandbox, vbc):
            await asyncio.gather(*(vbc.calls.push(record(number)) for number in range(60)))
            assert sum(sandbox.accepted.values()) == 60

    run_virtual(main())


async def test_two_sessions_have_their_own_pace_and_policy() -> None:
    """A policy is checked where it is given."""
    wrong: Any = {"realtime_rate": 5}
    async with Sandbox() as sandbox:
        with pytest.raises(ConfigurationError, match="api_policy"):
            VBCSession(sandbox.credentials, base_url=sandbox.base_url, api_policy=wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"realtime_rate": 0},
        {"batch_rate": 1.5},
        {"attempts": 0},
        {"attempts": None},
        {"timeout": 0},
        {"patience": -1},
        {"retry_first": 9},
        {"poll_first": 60},
        {"realtime_window": "a second"},
    ],
)
def test_policies_that_make_no_sense(wrong: dict[str, Any]) -> None:
    """Said at once, with the name."""
    with pytest.raises(ConfigurationError, match="APIPolicy"):
        APIPolicy(**wrong)


def test_a_policy_is_scaled() -> None:
    """All but the deadline of one attempt, which is real."""
    policy = APIPolicy().scaled(1 / 60)

    assert policy.batch_window.total_seconds() == 1
    assert policy.timeout == APIPolicy().timeout
    assert FAST.patience.total_seconds() == 0.6


async def test_a_closed_session_sends_nothing() -> None:
    """Also to those who wait for their acquire."""
    async with api_world(APIPolicy(realtime_rate=1)) as (_, vbc):
        await vbc.calls.push(record())
        waiting = asyncio.create_task(vbc.calls.push(record()))
        await asyncio.sleep(0.05)
        calls = vbc.calls
        await vbc.close()
        with pytest.raises(Exception, match="closed") as caught:
            await waiting
        assert type(caught.value).__name__ == "SessionClosedError"
        with pytest.raises(Exception, match="closed"):
            await calls.push(record())


async def test_a_dead_token_is_replaced_under_a_typed_call() -> None:
    """As under any other request, for one mint."""
    async with api_world() as (sandbox, vbc):
        await vbc.calls.push(record())
        sandbox.revoke_all()
        # Younger than the grace: the 401 is the caller's.
        with pytest.raises(APIError) as caught:
            await vbc.calls.push(record())
        assert caught.value.status == 401


async def test_a_batch_without_an_id() -> None:
    """Nobody can ask for it: whether it was taken is unknown."""
    async with api_world() as (sandbox, vbc):
        for body in ('{"batch_id": true}', '{"batch_id": ""}', '{"batch_id": null}', "[]", ""):
            sandbox.fail_next("batch", status=200, body=body)
            with pytest.raises(UnknownOutcomeError, match="without a batch_id") as caught:
                await vbc.calls.push_batch([record()])
            assert caught.value.status == 200
        sandbox.fail_next("batch", status=200, body='{"batch_id": 7}')
        assert (await vbc.calls.push_batch([record()])).batch_id == "7"


async def test_a_closed_aiohttp_session_of_the_user_s() -> None:
    """It is said in our words, and nothing was sent."""
    async with Sandbox() as sandbox, aiohttp.ClientSession() as http:
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http) as vbc:
            await vbc.warm_up()
            await http.close()
            for call in (vbc.calls.push(record()), vbc.calls.push_batch([record()]), vbc.labels.list()):
                with pytest.raises(SessionClosedError, match="http="):
                    await call


@pytest.mark.parametrize("said", ['{"statusInfo": %s}', '{"status_info": %s}', "%s"])
async def test_push_whatever_the_key(said: str) -> None:
    """Both spellings, and none."""
    async with api_world() as (sandbox, vbc):
        sandbox.fail_next("calls", status=200, body=said % '{"status": "success", "message": "fine"}')
        assert await vbc.calls.push(record()) == PushResult(Status.SUCCESS, "fine")


async def test_a_status_as_older_documents_have_it() -> None:
    """A bare array, and no batch_id in it: it is the one that was asked for."""
    async with api_world() as (sandbox, vbc):
        sandbox.fail_next(
            "status", status=200, body='[{"caller": "911234567890", "status_info": {"status": "success"}}]'
        )
        status = await vbc.calls.batch_status("x")
        assert (status.batch_id, len(status.data), status.final) == ("x", 1, True)
        # One of two records: the batch is not done.
        sandbox.set_outage("status", status=200, body='[{"status_info": {"status": "success"}}]')
        with pytest.raises(StillPendingError):
            await vbc.calls.wait_for_batch(Batch("x", "v3", 2), timeout=0.1)


async def test_a_late_record_is_named_by_its_place() -> None:
    """In a batch of many."""
    late = record(starts_at=1_700_000_000_000, ends_at=1_700_000_000_000 + HOUR)
    async with api_world() as (_, vbc):
        with pytest.raises(InvalidRecordError, match="record 1 ") as caught:
            await vbc.calls.push_batch([record(), late])
    assert [problem.position for problem in caught.value.problems] == [1]
