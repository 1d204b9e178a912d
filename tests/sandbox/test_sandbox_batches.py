"""Push batches, and read their status."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from truecaller_vbc.sandbox.calls import BatchStore

from .sandbox_account import LABEL, account, call_record, plus_record
from .sandbox_wire import ManualClock

UNKNOWN = "0ca10281-11a0-4f86-bb27-7452da543cb6"


async def test_batch_is_accepted_and_finished() -> None:
    """A batch gets an ID at once; its status shows every record as sent, without plus, and its outcome."""
    async with account() as client:
        sent = [
            plus_record(dynamic_label_name="Example Bank KYC", dynamic_call_reason="Calling you for KYC"),
            plus_record(receiver_number="+919876500004"),
        ]
        accepted = await client.batch(*sent)
        status = await client.status(accepted.json["batch_id"])
        account_id = client.sandbox.credentials.client_account_id

        assert (accepted.status, accepted.json) == (200, {"batch_id": accepted.json["batch_id"]})
        assert client.sandbox.batches == {accepted.json["batch_id"]: 2}
        assert client.sandbox.accepted == {919876543210: 1, 919876500004: 1}

    first, second = status.json.pop("data")
    assert (status.status, status.json) == (
        200,
        {"client_account_id": account_id, "batch_id": accepted.json["batch_id"]},
    )
    assert first["id"] != second["id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{2,6}Z", first["created_at"])
    assert {name: value for name, value in first.items() if name not in ("id", "created_at")} == {
        "caller_number": "911234567890",
        "receiver_number": "919876543210",
        "label_id": LABEL,
        "dynamic_label_name": "Example Bank KYC",
        "dynamic_call_reason": "Calling you for KYC",
        "starts_at": sent[0]["starts_at"],
        "ends_at": sent[0]["ends_at"],
        "status_info": {"status": "success"},
    }
    assert second["dynamic_label_name"] == "Flower shop"  # the documented default is the name of the label
    assert second["status_info"] == {"status": "error", "message": "Failed to push"}


@pytest.mark.parametrize(
    ("version", "plus", "status"), [("/v2", True, 200), ("/v2", False, 200), ("/v3", True, 200), ("/v3", False, 400)]
)
async def test_number_format_of_each_version(version: str, plus: bool, status: int) -> None:
    """Version 3 requires a plus, and version 2 accepts numbers with and without it."""
    async with account() as client:
        answer = await client.batch(plus_record() if plus else call_record(), version=version)

        assert answer.status == status


@pytest.mark.parametrize("version", ["/v2", "/v3"])
async def test_status_of_either_version(version: str) -> None:
    """The status of a batch is found under both paths."""
    async with account() as client:
        batch_id = (await client.batch(plus_record())).json["batch_id"]

        assert (await client.status(batch_id, version)).status == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], ""),
        ({}, "call_records"),
        ({"call_records": None}, "call_records"),
        ({"call_records": {}}, "call_records"),
        ({"call_records": []}, "call_records"),
        ({"call_records": [plus_record()] * 501}, "call_records"),
        ({"call_records": ["record"]}, ""),
    ],
)
async def test_body_that_is_not_a_batch(body: Any, field: str) -> None:
    """A batch is 1 to 500 objects under `call_records`; any other body is refused."""
    async with account(envelope="E2") as client:
        answer = await client.send("POST", "/dynamic_call_records", version="/v3", json=body)

        assert (answer.status, answer.json["field"]) == (400, field)
        assert (client.sandbox.batches, client.sandbox.accepted) == ({}, {})


async def test_most_records() -> None:
    """500 records are accepted."""
    async with account() as client:
        answer = await client.batch(*[plus_record()] * 500)

        assert (answer.status, list(client.sandbox.batches.values())) == (200, [500])


async def test_one_bad_record_rejects_all() -> None:
    """By default one invalid record refuses the whole batch, and the answer names the first fault."""
    async with account(envelope="E2") as client:
        answer = await client.batch(plus_record(), plus_record(label_id=None), plus_record(ends_at=None))

        assert (answer.status, answer.json["field"]) == (400, "label_id")
        assert (client.sandbox.batches, client.sandbox.accepted) == ({}, {})


async def test_one_bad_record_fails_alone() -> None:
    """With bad_record="record" the batch is accepted, and only that record fails."""
    async with account(bad_record="record") as client:
        data = await client.finished(plus_record(), plus_record(receiver_number="1"), "record", plus_record())

        assert [record["status_info"] for record in data] == [
            {"status": "success"},
            {"status": "error", "field": "receiver_number", "message": "Invalid input"},
            {"status": "error", "field": "", "message": "Invalid input"},
            {"status": "success"},
        ]
        assert data[1]["receiver_number"] == "1"
        assert (client.sandbox.accepted, list(client.sandbox.batches.values())) == ({919876543210: 2}, [4])


@pytest.mark.parametrize("version", ["/v2", "/v3"])
async def test_unknown_batch(version: str) -> None:
    """An unknown ID gets 404, and a missing ID gets 400."""
    async with account(envelope="E2") as client:
        unknown = await client.status(UNKNOWN, version)
        none = await client.send("GET", "/dynamic_call_records", version=version)

        assert (unknown.status, unknown.json["message"]) == (404, "batch not found")
        assert (none.status, none.json["message"]) == (400, "batchId is required")


@pytest.mark.parametrize(
    ("rules", "status", "infos"),
    [
        ({}, 200, []),
        ({"batch_pending": "404"}, 404, None),
        ({"batch_pending": "missing"}, 200, [None]),
        ({"batch_pending": "pending"}, 200, [{"status": "pending"}]),
        ({"batch_pending": "pending", "unknown_status": "queued"}, 200, [{"status": "queued"}]),
    ],
)
async def test_pending_batch(rules: dict[str, Any], status: int, infos: Any) -> None:
    """A batch is pending, in the form that the rules set, until `batch_seconds` have passed on the clock."""
    clock = ManualClock()
    async with account(clock=clock, batch_seconds=10.0, **rules) as client:
        batch_id = (await client.batch(plus_record())).json["batch_id"]
        clock.now += 9.5
        pending = await client.status(batch_id)
        clock.now += 0.5
        finished = await client.status(batch_id)

    assert pending.status == status
    if infos is not None:
        assert [record.get("status_info") for record in pending.json["data"]] == infos
    assert [record["status_info"] for record in finished.json["data"]] == [{"status": "success"}]
    if infos:
        assert pending.json["data"][0]["id"] == finished.json["data"][0]["id"]


async def test_spelling_of_the_status() -> None:
    """The name of the status can be the older one in camel case."""
    async with account(status_key="statusInfo") as client:
        (record,) = await client.finished(plus_record())

        assert (record["statusInfo"], "status_info" in record) == ({"status": "success"}, False)


@pytest.mark.parametrize("order", ["same", "shuffled"])
async def test_order_of_the_data(order: str) -> None:
    """The status has all records, in the order of sending or in a random order that stays the same."""
    receivers = [f"+9198765{number:05}" for number in range(100, 150)]
    async with account(data_order=order) as client:
        batch_id = (await client.batch(*[plus_record(receiver_number=one) for one in receivers])).json["batch_id"]
        data, again = [(await client.status(batch_id)).json["data"] for _ in range(2)]

    came = ["+" + record["receiver_number"] for record in data]
    assert (sorted(came), came == receivers) == (receivers, order == "same")
    assert data == again


async def test_old_batches_are_forgotten() -> None:
    """Old batches are dropped, except for their number of records."""
    async with account(keep_batches=2) as client:
        ids = [(await client.batch(plus_record())).json["batch_id"] for _ in range(3)]

        assert [(await client.status(batch_id)).status for batch_id in ids] == [404, 200, 200]
        assert list(client.sandbox.batches) == ids


def test_kept_batch_is_small() -> None:
    """A thousand batches take a few megabytes."""
    records = [plus_record(receiver_number=f"+91{number * 7919:010}") for number in range(500)]
    body = {"call_records": records}
    batch = BatchStore(keep=1).add(json.dumps(body).encode(), 500, 0.0, {})

    assert batch.records() == records
    assert len(batch.packed) < 500 * 20


async def test_outcome_is_judged_when_it_is_asked_for() -> None:
    """An outcome that is set after the push applies to the batch too."""
    async with account() as client:
        batch_id = (await client.batch(plus_record())).json["batch_id"]
        client.sandbox.set_outcome("919876543210", "Failed to push")

        (record,) = (await client.status(batch_id)).json["data"]
        assert record["status_info"]["message"] == "Failed to push"


async def test_sparse_status() -> None:
    """A sparse status leaves out optional fields and empty arrays."""
    async with account(sparse=True) as client:
        (record,) = await client.finished(plus_record())

    assert record["dynamic_label_name"] is None
    assert "created_at" not in record
    assert (record["receiver_number"], record["status_info"]) == ("919876543210", {"status": "success"})
    async with account(sparse=True, batch_seconds=60.0) as client:
        status = await client.status((await client.batch(plus_record())).json["batch_id"])
        assert "data" not in status.json or status.json["data"] is None
