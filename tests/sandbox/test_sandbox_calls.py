"""Push real-time records: validation, outcomes and counts."""

from __future__ import annotations

from typing import Any

import pytest

from .sandbox_account import HOUR, LABEL, account, call_record
from .sandbox_wire import ManualClock

SUCCESS = {"status": "success", "message": "Record processed successfully"}
TOO_LONG = "Request body is invalid: ends_at cannot be more than 24 hours after starts_at"
ENDINGS = {
    "00001": "Not a Truecaller user",
    "00002": "OS not supported",
    "00003": "App version not supported",
    "00004": "Failed to push",
    "00005": "Invalid input",
}


def too_long() -> dict[str, Any]:
    record = call_record()
    return record | {"ends_at": record["starts_at"] + 25 * HOUR}


@pytest.mark.parametrize("key", ["status_info", "statusInfo"])
async def test_success(key: str) -> None:
    """A valid record succeeds at once, and is counted for its receiver."""
    async with account(status_key=key) as client:
        answers = [await client.call(call_record()) for _ in range(2)]
        await client.call(call_record(receiver_number="911111111111"))

        assert [(answer.status, answer.json) for answer in answers] == [(200, {key: SUCCESS})] * 2
        assert client.sandbox.accepted == {919876543210: 2, 911111111111: 1}


@pytest.mark.parametrize(
    ("envelope", "body"),
    [
        ("E1", {"slug": "invalid-input", "message": TOO_LONG}),
        ("E2", {"field": "ends_at", "message": TOO_LONG, "status": "error"}),
        ("E3", {"status_info": {"status": "error", "field": "ends_at", "message": TOO_LONG}}),
        ("E5", {"message": TOO_LONG}),
    ],
)
@pytest.mark.parametrize("status", [400, 422, 200])
async def test_invalid_record(envelope: str, status: int, body: dict[str, Any]) -> None:
    """An invalid record gets the documented message, and is not counted."""
    async with account(envelope=envelope, validation_status=status) as client:
        answer = await client.call(too_long())

        assert (answer.status, answer.json) == (status, body)
        assert client.sandbox.accepted == {}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
async def test_body_that_is_not_an_object(body: bytes) -> None:
    """A body that is not a JSON object is invalid."""
    async with account() as client:
        answer = await client.send("POST", "/dynamic_call_record", version="/v2", data=body)

        assert (answer.status, answer.json["slug"]) == (400, "invalid-input")


async def test_number_with_plus() -> None:
    """Real time refuses numbers with a plus."""
    async with account(envelope="E2") as client:
        answer = await client.call(call_record(receiver_number="+919876543210"))

        assert (answer.status, answer.json["field"]) == (400, "receiver_number")


async def test_past_is_judged_by_the_clock_of_the_sandbox() -> None:
    """A record has ended if the sandbox's clock says so."""
    clock = ManualClock()
    async with account(clock=clock, envelope="E2") as client:
        record = call_record()
        before = await client.call(record)
        clock.now += HOUR / 1000 + 1
        client.token = await client.wire.token()
        after = await client.call(record)

        assert (before.status, after.status) == (200, 400)
        assert (after.json["field"], "in the past" in after.json["message"]) == ("ends_at", True)


@pytest.mark.parametrize(("ending", "message"), ENDINGS.items())
async def test_documented_numbers_decide(ending: str, message: str) -> None:
    """Records for the documented test numbers are accepted, and not delivered."""
    async with account() as client:
        answer = await client.call(call_record(receiver_number=f"9198765{ending}"))

        assert (answer.status, answer.json) == (200, {"status_info": {"status": "error", "message": message}})
        assert client.sandbox.accepted[int(f"9198765{ending}")] == 1


async def test_outcome_in_an_envelope() -> None:
    """With the other reading of the documents, such a record gets 400."""
    async with account(outcome_status=400) as client:
        answer = await client.call(call_record(receiver_number="919876500004"))

        assert (answer.status, answer.json) == (400, {"slug": "invalid-input", "message": "Failed to push"})


async def test_outcome_set_for_a_number() -> None:
    """An outcome set for a number takes precedence over its last digits, and can be removed."""
    async with account() as client:
        client.sandbox.set_outcome("+919876543210", "Out of office")
        client.sandbox.set_outcome("919876500001", None)
        chosen = await client.call(call_record())
        spared = await client.call(call_record(receiver_number="919876500001"))
        client.sandbox.set_outcome("919876543210", None)
        again = await client.call(call_record())

    assert chosen.json["status_info"] == {"status": "error", "message": "Out of office"}
    assert [spared.json["status_info"], again.json["status_info"]] == [SUCCESS, SUCCESS]


async def test_outcome_of_what_is_no_number() -> None:
    """An outcome for an invalid number raises an error at once."""
    async with account() as client:
        with pytest.raises(ValueError, match="number must be"):
            client.sandbox.set_outcome("91-98765", "Failed to push")


async def test_added_label() -> None:
    """A record may use a dynamic label that was added, and no label of another type."""
    async with account(envelope="E2") as client:
        added = client.sandbox.add_label("Bakery")
        static = client.sandbox.add_label("Bakery", label_type="static")
        answers = [await client.call(call_record(label_id=label)) for label in (added, static)]

        assert [answer.status for answer in answers] == [200, 400]
        assert answers[1].json["field"] == "label_id"
        client.sandbox.add_label("Flower shop", label_id=LABEL, label_type="static")
        assert (await client.call(call_record())).status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/dynamic_call_record"),
        ("POST", "/dynamic_call_records"),
        ("GET", "/dynamic_call_records?batchId=x"),
        ("GET", "/openapi/feedback_stack/1/export_report?from_date=x"),
        ("GET", "/openapi/callback-logs/summary?from=0&to=1"),
    ],
)
async def test_deprecated_endpoints_are_not_offered(method: str, path: str) -> None:
    """The deprecated first version is not served."""
    async with account() as client:
        answer = await client.send(method, path)

        assert (answer.status, answer.json["slug"]) == (404, "not-found")


async def test_real_time_has_no_version_3() -> None:
    """The path of version 3 does not exist for real time."""
    async with account() as client:
        assert (await client.send("POST", "/dynamic_call_record", version="/v3", json=call_record())).status == 404
