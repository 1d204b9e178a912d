"""Test `vbc.calls` with a sandbox on a real socket."""

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
from .sandbox_session import FAST, HOUR, count_requests, fields, record, sandbox_session


async def test_push() -> None:
    """A record is sent with numbers without a plus, and the result is success."""
    async with sandbox_session() as (sandbox, vbc):
        result = await vbc.calls.push(record())

        assert result == PushResult(Status.SUCCESS, "Record processed successfully")
        assert sandbox.accepted == {int(fields()["receiver_number"]): 1}


@pytest.mark.parametrize(
    ("end", "reason"), [(1, "NOT_A_TRUECALLER_USER"), (2, "OS_NOT_SUPPORTED"), (4, "FAILED_TO_PUSH")]
)
@pytest.mark.parametrize("outcome_status", [200, 400])
async def test_push_to_an_unreachable_receiver(end: int, reason: str, outcome_status: int) -> None:
    """A documented failure reason raises NotDeliveredError under any status."""
    async with sandbox_session(outcome_status=outcome_status) as (_, vbc):
        with pytest.raises(NotDeliveredError) as caught:
            await vbc.calls.push(record(receiver_number=f"+919876{end:05}"))

    assert caught.value.reason is FailureReason[reason]


@pytest.mark.parametrize("envelope", ["E1", "E2", "E3", "E5"])
@pytest.mark.parametrize("validation_status", [200, 400, 422])
async def test_refused_push(envelope: str, validation_status: int) -> None:
    """An unknown label raises BadRequestError with the server's words, in every envelope and under every status."""
    async with sandbox_session(envelope=envelope, validation_status=validation_status) as (sandbox, vbc):
        for refused in (vbc.calls.push(record(label_id="other")), vbc.calls.push_batch([record(label_id="other")])):
            with pytest.raises(BadRequestError, match="label") as caught:
                await refused
            assert caught.value.status == validation_status
        assert not sandbox.accepted
        assert len(sandbox.log) == 3  # the token, and one request for each call


async def test_closed_window_is_not_sent() -> None:
    """A record whose window has closed is refused when it is sent, without a request."""
    async with sandbox_session() as (sandbox, vbc):
        late = record(starts_at=1_700_000_000_000, ends_at=1_700_000_000_000 + HOUR)
        for refused in (vbc.calls.push(late), vbc.calls.push_batch([record(), late])):
            with pytest.raises(InvalidRecordError, match="past"):
                await refused
        assert sandbox.token_requests == 0


@pytest.mark.parametrize("records", [[], [None], [record()] * 501, ["+911234567890"], [fields()]], ids=str)
async def test_invalid_batch_is_not_sent(records: Any) -> None:
    """A batch that is not 1 to 500 call records is refused without a request."""
    async with sandbox_session() as (sandbox, vbc):
        with pytest.raises(InvalidRecordError):
            await vbc.calls.push_batch(records)
        assert sandbox.token_requests == 0


@pytest.mark.parametrize("version", ["v3", "v2"])
async def test_batch_from_push_to_status(version: Any) -> None:
    """500 records are pushed, and the status of each is found by its record."""
    given = [record(number) for number in range(499)] + [record(receiver_number="+919876500001")]
    async with sandbox_session(data_order="shuffled", bad_record="record") as (sandbox, vbc):
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
    assert status.match([*given, record(7777)]) == [*found, None]
    assert [one is None for one in status.match([given[0], given[0]])] == [False, True]


@pytest.mark.parametrize("pending", ["empty", "404", "missing", "pending"])
@pytest.mark.parametrize("status_key", ["status_info", "statusInfo"])
@pytest.mark.parametrize("sparse", [False, True])
def test_wait_for_batch(pending: str, status_key: str, sparse: bool) -> None:
    """Waiting continues through every form of a pending batch, with growing pauses."""

    async def main() -> tuple[BatchStatus, float, int]:
        rules: dict[str, Any] = {
            "batch_seconds": 100,
            "batch_pending": pending,
            "status_key": status_key,
            "sparse": sparse,
        }
        async with sandbox_session(APIPolicy(), **rules) as (sandbox, vbc):
            batch = await vbc.calls.push_batch([record(), record(1)])
            status = await vbc.calls.wait_for_batch(batch, timeout=1000)
            return status, asyncio.get_running_loop().time(), count_requests(sandbox, "dynamic_call_records")

    status, took, requests = run_virtual(main())

    assert status.counts == {Status.SUCCESS: 2}
    assert 100 <= took <= 140
    assert requests < 20


def test_an_unknown_status_is_not_final() -> None:
    """An undocumented status is kept, and waiting ends at the timeout with the last status."""

    async def main() -> None:
        rules: dict[str, Any] = {"batch_seconds": 1e9, "batch_pending": "pending", "unknown_status": "simmering"}
        async with sandbox_session(**rules) as (_, vbc):
            batch = await vbc.calls.push_batch([record()])
            with pytest.raises(StillPendingError, match="ask again later") as caught:
                await vbc.calls.wait_for_batch(batch, timeout=60)
            assert isinstance(caught.value, TimeoutError)
            assert caught.value.pending is batch
            (one,) = caught.value.done.data
            assert (one.status, one.status.known, one.status.final) == ("simmering", False, False)

    run_virtual(main())


async def test_unknown_batch() -> None:
    """An unknown batch is a NotFoundError; waiting for it ends at the timeout, since it may still appear."""
    async with sandbox_session() as (_, vbc):
        with pytest.raises(NotFoundError):
            await vbc.calls.batch_status("d76s5-dfg9d-o32442-837467854")
        with pytest.raises(StillPendingError) as caught:
            await vbc.calls.wait_for_batch("d76s5-dfg9d-o32442-837467854", timeout=0.1)
        assert caught.value.done is None


async def test_batch_id_is_encoded_in_the_query() -> None:
    """A batch ID with special characters cannot change the path or the query."""
    async with sandbox_session() as (sandbox, vbc):
        with pytest.raises(NotFoundError):
            await vbc.calls.batch_status("x&batchId=y#z/../?\r\nA: b")
        assert sandbox.log[-1].path.endswith("/dynamic_call_records")


async def test_invalid_version_or_id_is_not_sent() -> None:
    """An unknown version or an empty ID raises ConfigurationError without a request."""
    async with sandbox_session() as (sandbox, vbc):
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
def test_documented_rates_are_kept() -> None:
    """At most 100 real-time records a second and 60 batches a minute are sent, at nearly the full rate."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with sandbox_session(APIPolicy(), realtime_per_second=100, batch_per_minute=60) as (sandbox, vbc):
            await vbc.warm_up()
            began = loop.time()
            await asyncio.gather(*(vbc.calls.push(record(number)) for number in range(950)))
            assert 9 <= loop.time() - began < 9.5
            began = loop.time()
            await asyncio.gather(*(vbc.calls.push_batch([record(number)]) for number in range(130)))
            assert 120 <= loop.time() - began < 125
            assert {entry.status for entry in sandbox.log} == {200}

    run_virtual(main())


def test_a_429_pauses_all_requests() -> None:
    """A 429 with Retry-After pauses all coroutines of the session, and all of their batches are sent later."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with sandbox_session(APIPolicy()) as (sandbox, vbc):
            await vbc.warm_up()
            sandbox.fail_next("batch", status=429, headers={"Retry-After": "50"}, times=2)
            began = loop.time()
            await asyncio.gather(*(vbc.calls.push_batch([record(number)]) for number in range(10)))
            assert 50 <= loop.time() - began < 52
            assert sum(sandbox.accepted.values()) == 10
            assert count_requests(sandbox, "dynamic_call_records") == 12

    run_virtual(main())


@pytest.mark.parametrize("retry_after", ["61", "3600", "Wed, 21 Oct 2099 07:28:00 GMT"])
async def test_retry_after_beyond_patience_is_not_waited_for(retry_after: str) -> None:
    """A Retry-After longer than the patience raises RateLimitedError at once."""
    async with sandbox_session(APIPolicy()) as (sandbox, vbc):
        sandbox.fail_next("calls", status=429, headers={"Retry-After": retry_after})
        with pytest.raises(RateLimitedError) as caught:
            await vbc.calls.push(record())
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 60
        assert count_requests(sandbox, "dynamic_call_record") == 1


def test_lower_rate_of_the_server() -> None:
    """If the server's rate is lower than the policy's, all records are sent in the end."""

    async def main() -> None:
        async with sandbox_session(APIPolicy(), realtime_per_second=20) as (sandbox, vbc):
            await asyncio.gather(*(vbc.calls.push(record(number)) for number in range(60)))
            assert sum(sandbox.accepted.values()) == 60

    run_virtual(main())


async def test_api_policy_of_the_wrong_type() -> None:
    """VBCSession refuses an api_policy that is not an APIPolicy."""
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
def test_invalid_policies(wrong: dict[str, Any]) -> None:
    """An invalid value raises ConfigurationError at once."""
    with pytest.raises(ConfigurationError, match="APIPolicy"):
        APIPolicy(**wrong)


def test_scaled_policy() -> None:
    """Scaling changes every duration except the timeout of one attempt."""
    policy = APIPolicy().scaled(1 / 60)

    assert policy.batch_window.total_seconds() == 1
    assert policy.timeout == APIPolicy().timeout
    assert FAST.patience.total_seconds() == 0.6


async def test_a_closed_session_sends_nothing() -> None:
    """Calls after `close`, and calls that wait for the rate limit, raise SessionClosedError."""
    async with sandbox_session(APIPolicy(realtime_rate=1)) as (_, vbc):
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


async def test_token_refused_within_the_grace() -> None:
    """A token that is refused within the grace period is not replaced: the call raises the 401."""
    async with sandbox_session() as (sandbox, vbc):
        await vbc.calls.push(record())
        sandbox.revoke_all()
        # The token is younger than the grace period.
        with pytest.raises(APIError) as caught:
            await vbc.calls.push(record())
        assert caught.value.status == 401


async def test_batch_answer_without_an_id() -> None:
    """A batch answer without a usable batch_id is an unknown outcome."""
    async with sandbox_session() as (sandbox, vbc):
        for body in ('{"batch_id": true}', '{"batch_id": ""}', '{"batch_id": null}', "[]", ""):
            sandbox.fail_next("batch", status=200, body=body)
            with pytest.raises(UnknownOutcomeError, match="HTTP 200 does not say") as caught:
                await vbc.calls.push_batch([record()])
            assert caught.value.status == 200
        sandbox.fail_next("batch", status=200, body='{"batch_id": 7}')
        assert (await vbc.calls.push_batch([record()])).batch_id == "7"


async def test_closed_http_session() -> None:
    """If the user's http= session is closed, calls raise SessionClosedError that names http=."""
    async with Sandbox() as sandbox, aiohttp.ClientSession() as http:
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http) as vbc:
            await vbc.warm_up()
            await http.close()
            for call in (vbc.calls.push(record()), vbc.calls.push_batch([record()]), vbc.labels.list()):
                with pytest.raises(SessionClosedError, match="http="):
                    await call


@pytest.mark.parametrize("template", ['{"statusInfo": %s}', '{"status_info": %s}', "%s"])
async def test_push_result_in_every_spelling(template: str) -> None:
    """The result is read from status_info, from statusInfo, and from the top level."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.fail_next("calls", status=200, body=template % '{"status": "success", "message": "fine"}')
        assert await vbc.calls.push(record()) == PushResult(Status.SUCCESS, "fine")


async def test_batch_status_as_a_bare_list() -> None:
    """A list without a batch_id is the status of the requested batch."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.fail_next(
            "status", status=200, body='[{"caller": "911234567890", "status_info": {"status": "success"}}]'
        )
        status = await vbc.calls.batch_status("x")
        assert (status.batch_id, len(status.data), status.final) == ("x", 1, True)
        # The batch has two records, so it is not done.
        sandbox.set_outage("status", status=200, body='[{"status_info": {"status": "success"}}]')
        with pytest.raises(StillPendingError):
            await vbc.calls.wait_for_batch(Batch("x", "v3", 2), timeout=0.1)


async def test_closed_window_in_a_batch_is_named_by_position() -> None:
    """The error of a batch names the position of the record whose window has closed."""
    late = record(starts_at=1_700_000_000_000, ends_at=1_700_000_000_000 + HOUR)
    async with sandbox_session() as (_, vbc):
        with pytest.raises(InvalidRecordError, match="record 1 ") as caught:
            await vbc.calls.push_batch([record(), late])
    assert [problem.position for problem in caught.value.problems] == [1]
