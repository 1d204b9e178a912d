"""Test `vbc.labels` and `vbc.numbers` with a sandbox on a real socket."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from truecaller_vbc import (
    APIPolicy,
    ConfigurationError,
    ForbiddenError,
    InvalidRecordError,
    NotFoundError,
    NumbersRefusedError,
    NumbersResult,
    PartlyDoneError,
    ServerError,
    Status,
    StillPendingError,
    UnknownOutcomeError,
)
from truecaller_vbc.api.client import ApiClient
from truecaller_vbc.api.number_results import is_refusal, merge_results, read_number_result

from ..token.virtual_time import run_virtual
from .sandbox_session import FEATURE_SET, LABEL, count_requests, receiver, sandbox_session

SEVERAL = frozenset(receiver(number) for number in range(3))


async def test_labels() -> None:
    """All labels are returned as models."""
    async with sandbox_session() as (_, vbc):
        found = {label.id: label for label in await vbc.labels.list()}

    assert found[LABEL].label_type == "dynamic"
    assert found[LABEL].created_at is not None
    assert found[LABEL].category == 10


@pytest.mark.parametrize("first_page", [0, 1])
@pytest.mark.parametrize("page_size", [1, 7, 25, 1000])
async def test_every_label_once(first_page: int, page_size: int) -> None:
    """Each label comes once, whatever the number of the first page and the page size."""
    async with sandbox_session(first_page=first_page, page_size=page_size) as (sandbox, vbc):
        for number in range(23):
            sandbox.add_label(f"Label {number}")
        pages = [page async for page in vbc.labels.pages()]
        found = [label.name for page in pages for label in page]

        assert len(found) == len(set(found)) == 25
        assert len(pages) == -(-25 // page_size)
        assert count_requests(sandbox, "labels") <= len(pages) + 2
        assert [len(page) async for page in vbc.labels.pages(limit=10)] == [10, 10, 5]


@pytest.mark.parametrize("first_page", [0, 1])
@pytest.mark.parametrize("total_page_count", ["honest", "missing", "endless"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("count", [0, 1, 4, 5])
async def test_every_number_once(first_page: int, total_page_count: str, sparse: bool, count: int) -> None:
    """Each number comes once, also if the server always states one more page."""
    rules: dict[str, Any] = {
        "first_page": first_page,
        "total_page_count": total_page_count,
        "sparse": sparse,
        "page_size": 2,
    }
    wanted = [receiver(number) for number in range(count)]
    async with sandbox_session(**rules) as (sandbox, vbc):
        if wanted:
            await vbc.numbers.publish(FEATURE_SET, wanted)
        found = [number async for number in vbc.numbers.numbers()]

        assert [number.phone_number for number in found] == wanted
        assert {number.status for number in found} <= {Status.LISTED}
        assert count_requests(sandbox, "numbers") <= 6


async def test_filters_are_sent() -> None:
    """Filters are sent with their documented names, and only if they are given."""
    async with sandbox_session() as (sandbox, vbc):
        other = sandbox.add_feature_set("Other")
        await vbc.numbers.publish(FEATURE_SET, [receiver(1)])
        await vbc.numbers.publish(other, [receiver(2)])

        found = [number.phone_number async for number in vbc.numbers.numbers(feature_set_id=other)]
        assert found == [receiver(2)]
        assert [number async for number in vbc.numbers.numbers(department_id="none such")] == []
        names = {feature_set.id: feature_set.name async for feature_set in vbc.numbers.feature_sets(limit=1)}
        assert names[other] == "Other"
        for name in ("department_id", "operation_id", "process_id"):
            nowhere: Any = {name: "none such"}
            assert [one async for one in vbc.numbers.feature_sets(**nowhere)] == []
            assert [one async for one in vbc.numbers.numbers(**nowhere)] == []


async def test_buckets_mean_the_opposite_in_publish_and_delist() -> None:
    """A known number is already listed for publish, and accepted for delist."""
    known, unknown = receiver(1), receiver(2)
    async with sandbox_session() as (sandbox, vbc):
        other = sandbox.add_feature_set("Other")
        await vbc.numbers.publish(other, [receiver(3)])

        first = await vbc.numbers.publish(FEATURE_SET, [known])
        assert first == NumbersResult(accepted=frozenset({known}), status=Status.PENDING)
        again = await vbc.numbers.publish(FEATURE_SET, [known, unknown, receiver(3)])
        assert again.accepted == {unknown}
        assert again.already_listed == {known}
        assert again.in_other_set == again.not_done == {receiver(3)}
        assert str(again) == "1 accepted, 1 already_listed, 1 in_other_set"
        gone = await vbc.numbers.delist(FEATURE_SET, [known, receiver(9)])
        assert gone == NumbersResult(frozenset({known}), not_listed=frozenset({receiver(9)}), status=Status.PENDING)
        assert sandbox.listed == {unknown[1:], receiver(3)[1:]}


@pytest.mark.parametrize("failed_status", [200, 400])
@pytest.mark.parametrize("sparse", [False, True])
async def test_failed_delist(failed_status: int, sparse: bool) -> None:
    """A failed delist raises NumbersRefusedError with the numbers by reason, under any status."""
    async with sandbox_session(failed_status=failed_status, sparse=sparse) as (_, vbc):
        with pytest.raises(NumbersRefusedError, match="3 not_listed") as caught:
            await vbc.numbers.delist(FEATURE_SET, SEVERAL)

    assert caught.value.result == NumbersResult(not_listed=SEVERAL, status=Status.FAILED)
    assert caught.value.status == failed_status


async def test_more_than_ten_thousand_numbers() -> None:
    """More than 10,000 numbers are sent in several requests and give one result."""
    many = [receiver(number) for number in range(20_001)]
    async with sandbox_session() as (sandbox, vbc):
        result = await vbc.numbers.publish(FEATURE_SET, many)

        assert result.accepted == set(many)
        assert count_requests(sandbox, "publish") == 3
        # A failed request does not make the others fail.
        result = await vbc.numbers.delist(FEATURE_SET, [*many[:10_000], "+4912345678"])
        assert (len(result.accepted), result.not_listed) == (10_000, frozenset({"+4912345678"}))
        assert result.status is Status.PENDING


async def test_publish_that_stops_half_way() -> None:
    """The error names the numbers that were done, that failed, and that were not sent."""
    many = [receiver(number) for number in range(25_000)]
    async with sandbox_session() as (sandbox, vbc):
        sandbox.fail_next("publish", delay=0.001)
        sandbox.fail_next("publish", drop="after")
        with pytest.raises(PartlyDoneError, match="request 2 of 3") as caught:
            await vbc.numbers.publish(FEATURE_SET, many)

        error = caught.value
        assert error.done.accepted == set(many[:10_000])
        assert error.failed == tuple(many[10_000:20_000])
        assert error.unsent == tuple(many[20_000:])
        assert isinstance(error.__cause__, UnknownOutcomeError)
        assert error.__cause__.records == error.failed
        assert count_requests(sandbox, "publish") == 2


@pytest.mark.parametrize("wrong", ["", "a/b", "..", "{account}", "a b", "é", "x?y", "a\n"])
async def test_invalid_feature_set_id_is_not_sent(wrong: str) -> None:
    """An ID that could change the path is refused without a request."""
    async with sandbox_session() as (sandbox, vbc):
        with pytest.raises(ConfigurationError, match="feature_set_id"):
            await vbc.numbers.publish(wrong, [receiver(1)])
        assert sandbox.token_requests == 0


async def test_errors_of_numbers() -> None:
    """Invalid numbers send nothing; an unknown set and a missing right are errors of the API."""
    async with sandbox_session() as (sandbox, vbc):
        with pytest.raises(InvalidRecordError, match="record 1: phone_numbers"):
            await vbc.numbers.publish(FEATURE_SET, [receiver(1), "911234567890"])
        assert sandbox.token_requests == 0
        with pytest.raises(NotFoundError):
            await vbc.numbers.publish("none-such", [receiver(1)])
        sandbox.fail_next("feature_sets", status=403)
        with pytest.raises(ForbiddenError, match="admin"):
            await anext(vbc.numbers.feature_sets())


def test_wait_until_listed() -> None:
    """The list is read with growing pauses until all numbers are listed."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with sandbox_session(APIPolicy(), listing_seconds=100, page_size=2) as (sandbox, vbc):
            await vbc.numbers.publish(FEATURE_SET, SEVERAL)
            found = await vbc.numbers.wait_until_listed(SEVERAL, timeout=1000, feature_set_id=FEATURE_SET)
            assert set(found) == SEVERAL
            assert 100 <= loop.time() < 145
            assert count_requests(sandbox, "numbers") < 30
            with pytest.raises(StillPendingError, match="1 of 4") as caught:
                await vbc.numbers.wait_until_listed([*SEVERAL, receiver(99)], timeout=5)
            assert caught.value.pending == {receiver(99)}
            assert set(caught.value.done) == SEVERAL

    run_virtual(main())


def test_a_number_that_is_still_being_delisted() -> None:
    """The server ignores a publish of such a number, so waiting for it ends at the timeout."""

    async def main() -> None:
        async with sandbox_session(APIPolicy(), delisting_seconds=100) as (_, vbc):
            await vbc.numbers.publish(FEATURE_SET, SEVERAL)
            await vbc.numbers.delist(FEATURE_SET, SEVERAL)
            await vbc.numbers.publish(FEATURE_SET, SEVERAL)
            await asyncio.sleep(200)
            with pytest.raises(StillPendingError):
                await vbc.numbers.wait_until_listed(SEVERAL, timeout=100)

    run_virtual(main())


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"new_numbers": None, "existing_numbers": "x", "status": 5},
        {"new_numbers": [None, {}, 911234567890], "status": "simmering"},
    ],
)
@pytest.mark.parametrize("operation", ["publish", "delist"])
def test_number_in_no_bucket_is_unmentioned(answer: dict[str, Any], operation: Any) -> None:
    """Each number that was sent is in one set of the result."""
    result = read_number_result(operation, answer, ["+911234567890", "+911234567891"])

    everywhere = result.accepted | result.not_listed | result.unmentioned
    assert everywhere == {"+911234567890", "+911234567891"}


def test_merging_no_results() -> None:
    """Merging no results gives an empty result that has not failed."""
    assert merge_results([]) == NumbersResult()


def test_failed_answer_accepts_no_number() -> None:
    """If the whole request failed, no number counts as accepted."""
    for operation, bucket in (("publish", "new_numbers"), ("delist", "existing_numbers")):
        kind: Any = operation
        result = read_number_result(kind, {bucket: ["911234567890"], "status": "failed"}, ["+911234567890"])
        assert result == NumbersResult(unmentioned=frozenset({"+911234567890"}), status=Status.FAILED)
        assert result.not_done == {"+911234567890"}


def test_bucket_ignores_other_values() -> None:
    """Values in a bucket that are not numbers are ignored."""
    assert read_number_result("publish", {"new_numbers": [True, 1.5, [], None]}, []) == NumbersResult()


def test_every_bucket_has_its_set() -> None:
    """Each documented bucket is read into its own set."""
    names = {
        "processing_numbers": "processing",
        "other_feature_set_numbers": "in_other_set",
        "other_phonetype_numbers": "of_other_type",
        "others_numbers": "of_others",
        "invalid_numbers": "invalid",
        "migrated_numbers": "migrated",
        "updated_numbers": "updated",
        "delisted_numbers": "delisted",
    }
    given = {bucket: [f"9112345678{number}"] for number, bucket in enumerate(names, 10)}
    for operation in ("publish", "delist"):
        kind: Any = operation
        result = read_number_result(kind, given, [])
        for number, name in enumerate(names.values(), 10):
            assert getattr(result, name) == {f"+9112345678{number}"}
        assert len(result.not_done) == 4
    assert read_number_result("publish", {"new_numbers": [911234567890]}, []).accepted == {"+911234567890"}


def test_merged_status() -> None:
    """Merged results have failed only if all of them failed."""
    failed, taken = NumbersResult(status=Status.FAILED), NumbersResult(status=Status.PENDING)

    assert merge_results([failed, taken]).status is merge_results([taken, failed]).status is Status.PENDING
    assert merge_results([failed, failed]).status is Status.FAILED


def test_refusal_has_the_status_and_buckets() -> None:
    """An answer is a refusal only if it has the status ``failed`` and at least one bucket."""
    assert is_refusal({"status": "failed", "new_numbers": []})
    assert not is_refusal({"status": "pending", "new_numbers": []})
    assert not is_refusal({"status": "failed", "message": "no"})


async def test_numbers_as_a_bare_list() -> None:
    """A bare list is read, and a number that is not listed yet is waited for until the timeout."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.fail_next("numbers", status=200, body='[{"phone_number": "911234567890", "status": "draft"}]')
        assert (await anext(vbc.numbers.numbers())).phone_number == "+911234567890"
        sandbox.set_outage("numbers", status=200, body='[{"phone_number": "911234567890", "status": "draft"}]')
        with pytest.raises(StillPendingError):
            await vbc.numbers.wait_until_listed(["+911234567890"], timeout=0.1)


@pytest.mark.parametrize("total", [True, False, -1, 0, "1", 1.0, None, [1]])
async def test_invalid_total_is_ignored(total: object) -> None:
    """A page count that is not a positive integer does not end the list."""
    async with sandbox_session() as (sandbox, vbc):
        await vbc.numbers.publish(FEATURE_SET, [receiver(2)])
        first = {"numbers": [{"phone_number": receiver(1)}], "pagination_information": {"total_page_count": total}}
        sandbox.fail_next("numbers", body=first)

        assert [number.phone_number async for number in vbc.numbers.numbers()] == [receiver(1), receiver(2)]


async def test_wait_stops_reading_at_the_last_number() -> None:
    """Waiting reads the list up to the last number that is waited for."""
    async with sandbox_session(page_size=1) as (sandbox, vbc):
        await vbc.numbers.publish(FEATURE_SET, SEVERAL)
        first = await anext(vbc.numbers.numbers())
        before = count_requests(sandbox, "numbers")

        assert list(await vbc.numbers.wait_until_listed([first.phone_number], timeout=5)) == [first.phone_number]
        assert count_requests(sandbox, "numbers") - before == 1


async def test_timeout_of_zero_looks_once() -> None:
    """With a timeout of zero the list is read once."""
    async with sandbox_session() as (sandbox, vbc):
        await vbc.numbers.publish(FEATURE_SET, SEVERAL)
        assert set(await vbc.numbers.wait_until_listed(SEVERAL, timeout=0)) == SEVERAL
        before = count_requests(sandbox, "numbers")
        with pytest.raises(StillPendingError):
            await vbc.numbers.wait_until_listed([receiver(99)], timeout=0)
        assert count_requests(sandbox, "numbers") > before


async def test_poll_passes_on_the_timeout_error_of_a_look() -> None:
    """A TimeoutError that `look` raises is not taken for the end of the poll."""

    async def look() -> bool:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await ApiClient(cast(Any, None), APIPolicy()).poll_until(look, timedelta(seconds=5))


@pytest.mark.parametrize("body", ["{}", '"x"', "7", ""])
async def test_answer_that_is_not_a_list(body: str) -> None:
    """Such an answer is a ServerError, not an empty list; the pagination information may be anything."""
    async with sandbox_session() as (sandbox, vbc):
        sandbox.set_outage("labels", status=200, body=body)
        with pytest.raises(ServerError, match="HTTP 200, but the answer"):
            await vbc.labels.list()
        sandbox.set_outage("numbers", status=200, body=body if body != "{}" else "null")
        with pytest.raises(ServerError, match="HTTP 200, but the answer"):
            await anext(vbc.numbers.numbers())
        sandbox.set_outage(
            "numbers", status=200, body='{"numbers": [{"phone_number": "1"}], "pagination_information": ["x"]}'
        )
        assert [number.status async for number in vbc.numbers.numbers()] == [Status.NONE]
