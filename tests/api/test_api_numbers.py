"""`vbc.labels` and `vbc.numbers` with the sandbox on a real socket."""

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
from .api_world import FEATURE_SET, LABEL, api_world, posts, receiver

SEVERAL = frozenset(receiver(number) for number in range(3))


async def test_labels() -> None:
    """All of them, typed."""
    async with api_world() as (_, vbc):
        found = {label.id: label for label in await vbc.labels.list()}

    assert found[LABEL].label_type == "dynamic"
    assert found[LABEL].created_at is not None
    assert found[LABEL].category == 10


@pytest.mark.parametrize("first_page", [0, 1])
@pytest.mark.parametrize("page_size", [1, 7, 25, 1000])
async def test_every_label_once(first_page: int, page_size: int) -> None:
    """Whatever the server calls its first page, and however long its pages are."""
    async with api_world(first_page=first_page, page_size=page_size) as (sandbox, vbc):
        for number in range(23):
            sandbox.add_label(f"Label {number}")
        pages = [page async for page in vbc.labels.pages()]
        found = [label.name for page in pages for label in page]

        assert len(found) == len(set(found)) == 25
        assert len(pages) == -(-25 // page_size)
        assert posts(sandbox, "labels") <= len(pages) + 2
        assert [len(page) async for page in vbc.labels.pages(limit=10)] == [10, 10, 5]


@pytest.mark.parametrize("first_page", [0, 1])
@pytest.mark.parametrize("total_page_count", ["honest", "missing", "endless"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("count", [0, 1, 4, 5])
async def test_every_number_once(first_page: int, total_page_count: str, sparse: bool, count: int) -> None:
    """Also from a server that always says that there is one more page."""
    rules: dict[str, Any] = {
        "first_page": first_page,
        "total_page_count": total_page_count,
        "sparse": sparse,
        "page_size": 2,
    }
    wanted = [receiver(number) for number in range(count)]
    async with api_world(**rules) as (sandbox, vbc):
        if wanted:
            await vbc.numbers.publish(FEATURE_SET, wanted)
        found = [number async for number in vbc.numbers.numbers()]

        assert [number.phone_number for number in found] == wanted
        assert {number.status for number in found} <= {Status.LISTED}
        assert posts(sandbox, "numbers") <= 6


async def test_filters_are_sent() -> None:
    """By their documented names, and only those that are given."""
    async with api_world() as (sandbox, vbc):
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


async def test_publish_and_delist_mean_the_opposite_by_the_same_words() -> None:
    """Known numbers are what publish has nothing to do with, and what delist is for."""
    known, unknown = receiver(1), receiver(2)
    async with api_world() as (sandbox, vbc):
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
async def test_delist_that_failed(failed_status: int, sparse: bool) -> None:
    """An error whatever its status, with the numbers by reason."""
    async with api_world(failed_status=failed_status, sparse=sparse) as (_, vbc):
        with pytest.raises(NumbersRefusedError, match="3 not_listed") as caught:
            await vbc.numbers.delist(FEATURE_SET, SEVERAL)

    assert caught.value.result == NumbersResult(not_listed=SEVERAL, status=Status.FAILED)
    assert caught.value.status == failed_status


async def test_ten_thousand_at_once() -> None:
    """More take several requests, and come to one result."""
    many = [receiver(number) for number in range(20_001)]
    async with api_world() as (sandbox, vbc):
        result = await vbc.numbers.publish(FEATURE_SET, many)

        assert result.accepted == set(many)
        assert posts(sandbox, "publish") == 3
        # A request that has none of them is no failure of the others.
        result = await vbc.numbers.delist(FEATURE_SET, [*many[:10_000], "+4912345678"])
        assert (len(result.accepted), result.not_listed) == (10_000, frozenset({"+4912345678"}))
        assert result.status is Status.PENDING


async def test_a_list_that_stops_half_way() -> None:
    """What was done, what may have been, and what was not sent."""
    many = [receiver(number) for number in range(25_000)]
    async with api_world() as (sandbox, vbc):
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
        assert posts(sandbox, "publish") == 2


@pytest.mark.parametrize("wrong", ["", "a/b", "..", "{account}", "a b", "é", "x?y", "a\n"])
async def test_an_id_is_no_way_into_the_path(wrong: str) -> None:
    """Refused before anything is sent."""
    async with api_world() as (sandbox, vbc):
        with pytest.raises(ConfigurationError, match="feature_set_id"):
            await vbc.numbers.publish(wrong, [receiver(1)])
        assert sandbox.token_requests == 0


async def test_errors_of_numbers() -> None:
    """Wrong numbers send nothing; a set that does not exist and a missing right are the API's errors."""
    async with api_world() as (sandbox, vbc):
        with pytest.raises(InvalidRecordError, match="record 1: phone_numbers"):
            await vbc.numbers.publish(FEATURE_SET, [receiver(1), "911234567890"])
        assert sandbox.token_requests == 0
        with pytest.raises(NotFoundError):
            await vbc.numbers.publish("none-such", [receiver(1)])
        sandbox.fail_next("feature_sets", status=403)
        with pytest.raises(ForbiddenError, match="admin"):
            await anext(vbc.numbers.feature_sets())


def test_wait_until_listed() -> None:
    """Listing takes its time; the list is read with growing pauses."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with api_world(APIPolicy(), listing_seconds=100, page_size=2) as (sandbox, vbc):
            await vbc.numbers.publish(FEATURE_SET, SEVERAL)
            found = await vbc.numbers.wait_until_listed(SEVERAL, timeout=1000, feature_set_id=FEATURE_SET)
            assert set(found) == SEVERAL
            assert 100 <= loop.time() < 145
            assert posts(sandbox, "numbers") < 30
            with pytest.raises(StillPendingError, match="1 of 4") as caught:
                await vbc.numbers.wait_until_listed([*SEVERAL, receiver(99)], timeout=5)
            assert caught.value.pending == {receiver(99)}
            assert set(caught.value.done) == SEVERAL

    run_virtual(main())


def test_a_number_that_is_still_being_delisted() -> None:
    """Publishing it is silently ignored, so waiting for it ends by the deadline."""

    async def main() -> None:
        async with api_world(APIPolicy(), delisting_seconds=100) as (_, vbc):
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
def test_buckets_of_any_kind(answer: dict[str, Any], operation: Any) -> None:
    """What is in no bucket is unmentioned, so that each number is somewhere."""
    result = read_number_result(operation, answer, ["+911234567890", "+911234567891"])

    everywhere = result.accepted | result.not_listed | result.unmentioned
    assert everywhere == {"+911234567890", "+911234567891"}


def test_merging_nothing() -> None:
    """An empty result, which is no failure."""
    assert merge_results([]) == NumbersResult()


def test_what_failed_was_not_accepted() -> None:
    """Whatever bucket a number is in: where the whole failed, nothing will come of it."""
    for operation, bucket in (("publish", "new_numbers"), ("delist", "existing_numbers")):
        kind: Any = operation
        result = read_number_result(kind, {bucket: ["911234567890"], "status": "failed"}, ["+911234567890"])
        assert result == NumbersResult(unmentioned=frozenset({"+911234567890"}), status=Status.FAILED)
        assert result.not_done == {"+911234567890"}


def test_a_bucket_has_numbers_only() -> None:
    """Not what JSON has beside them."""
    assert read_number_result("publish", {"new_numbers": [True, 1.5, [], None]}, []) == NumbersResult()


def test_every_bucket_has_its_set() -> None:
    """By the names of the documents, one number in each."""
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


def test_several_results_failed_only_if_all_did() -> None:
    """One that was taken makes it no failure."""
    failed, taken = NumbersResult(status=Status.FAILED), NumbersResult(status=Status.PENDING)

    assert merge_results([failed, taken]).status is merge_results([taken, failed]).status is Status.PENDING
    assert merge_results([failed, failed]).status is Status.FAILED


def test_a_refusal_has_both_its_word_and_its_buckets() -> None:
    """Else it is an answer like others, or an error like others."""
    assert is_refusal({"status": "failed", "new_numbers": []})
    assert not is_refusal({"status": "pending", "new_numbers": []})
    assert not is_refusal({"status": "failed", "message": "no"})


async def test_odd_lists_of_numbers() -> None:
    """A bare array is one, and what is not listed yet is not waited for in vain."""
    async with api_world() as (sandbox, vbc):
        sandbox.fail_next("numbers", status=200, body='[{"phone_number": "911234567890", "status": "draft"}]')
        assert (await anext(vbc.numbers.numbers())).phone_number == "+911234567890"
        sandbox.set_outage("numbers", status=200, body='[{"phone_number": "911234567890", "status": "draft"}]')
        with pytest.raises(StillPendingError):
            await vbc.numbers.wait_until_listed(["+911234567890"], timeout=0.1)


@pytest.mark.parametrize("total", [True, False, -1, 0, "1", 1.0, None, [1]])
async def test_what_is_no_number_of_pages(total: object) -> None:
    """It ends no list."""
    async with api_world() as (sandbox, vbc):
        await vbc.numbers.publish(FEATURE_SET, [receiver(2)])
        first = {"numbers": [{"phone_number": receiver(1)}], "pagination_information": {"total_page_count": total}}
        sandbox.fail_next("numbers", body=first)

        assert [number.phone_number async for number in vbc.numbers.numbers()] == [receiver(1), receiver(2)]


async def test_the_list_is_read_up_to_the_last_that_is_waited_for() -> None:
    """And no further."""
    async with api_world(page_size=1) as (sandbox, vbc):
        await vbc.numbers.publish(FEATURE_SET, SEVERAL)
        first = await anext(vbc.numbers.numbers())
        before = posts(sandbox, "numbers")

        assert list(await vbc.numbers.wait_until_listed([first.phone_number], timeout=5)) == [first.phone_number]
        assert posts(sandbox, "numbers") - before == 1


async def test_no_time_to_wait_is_one_look() -> None:
    """Who wants to know whether it has come about by now."""
    async with api_world() as (sandbox, vbc):
        await vbc.numbers.publish(FEATURE_SET, SEVERAL)
        assert set(await vbc.numbers.wait_until_listed(SEVERAL, timeout=0)) == SEVERAL
        before = posts(sandbox, "numbers")
        with pytest.raises(StillPendingError):
            await vbc.numbers.wait_until_listed([receiver(99)], timeout=0)
        assert posts(sandbox, "numbers") > before


async def test_a_timeout_of_somebody_else_is_not_the_end_of_waiting() -> None:
    """It is passed on, and not taken for our own."""

    async def look() -> bool:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await ApiClient(cast(Any, None), APIPolicy()).poll_until(look, timedelta(seconds=5))


@pytest.mark.parametrize("body", ["{}", '"x"', "7", ""])
async def test_what_is_no_list(body: str) -> None:
    """Said, and not taken for a list without anything in it; the number of pages may be anything, too."""
    async with api_world() as (sandbox, vbc):
        sandbox.set_outage("labels", status=200, body=body)
        with pytest.raises(ServerError, match="no list"):
            await vbc.labels.list()
        sandbox.set_outage("numbers", status=200, body=body if body != "{}" else "null")
        with pytest.raises(ServerError, match="no numbers"):
            await anext(vbc.numbers.numbers())
        sandbox.set_outage("numbers", status=200, body='{"numbers": [{}], "pagination_information": ["x"]}')
        assert [number.status async for number in vbc.numbers.numbers()] == [Status.NONE]
