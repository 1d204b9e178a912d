"""Publish and delist numbers: results, and when a number is listed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc.sandbox import ApiRules
from truecaller_vbc.sandbox.numbers import NumberStore

from .sandbox_account import FEATURE_SET, Client, account
from .sandbox_wire import ManualClock

ONE, TWO, THREE = "911234567891", "911234567892", "911234567893"
SHARED = {
    "new_numbers",
    "other_phonetype_numbers",
    "existing_numbers",
    "others_numbers",
    "invalid_numbers",
    "other_feature_set_numbers",
}


def filled(body: dict[str, Any]) -> dict[str, list[str]]:
    """Return the buckets that are not empty."""
    return {name: value for name, value in body.items() if name.endswith("_numbers") and value}


async def done(client: Client, action: str, *numbers: str, **where: str) -> tuple[str, dict[str, list[str]]]:
    body = (await client.manage(action, *numbers, **where)).json
    return body["status"], filled(body)


async def test_publish() -> None:
    """Publishing has the documented answer, and the number is listed."""
    async with account() as client:
        answer = await client.manage("publish", ONE)

        assert answer.status == 200
        assert answer.json == {
            "client_account_id": client.sandbox.credentials.client_account_id,
            "created_by_email": "someone@example.com",
            "phone_type": "verified",
            **{name: [] for name in SHARED | {"migrated_numbers", "delisted_numbers", "updated_numbers"}},
            "new_numbers": [ONE],
            "status": "pending",
        }
        assert (await client.shown(), client.sandbox.listed) == ([ONE], {ONE})


async def test_delist() -> None:
    """Delisting has the documented answer, and the number is listed no longer."""
    async with account() as client:
        await client.manage("publish", ONE)
        answer = await client.manage("delist", ONE)

        assert answer.status == 200
        assert answer.json == {
            "client_account_id": client.sandbox.credentials.client_account_id,
            "phone_type": "",
            **{name: [] for name in SHARED | {"processing_numbers"}},
            "existing_numbers": [ONE],
            "status": "pending",
        }
        assert (await client.shown(), client.sandbox.listed) == ([], set())


async def test_listing_takes_its_time() -> None:
    """With a delay the answer is the same at once, and the number is listed later."""
    clock = ManualClock()
    async with account(clock=clock, listing_seconds=30.0) as client:
        assert await done(client, "publish", ONE) == ("pending", {"new_numbers": [ONE]})
        clock.now += 29.0
        assert (await client.shown(), client.sandbox.listed) == ([], set())
        assert await done(client, "publish", ONE) == ("pending", {"existing_numbers": [ONE]})
        assert await done(client, "delist", ONE) == ("pending", {"processing_numbers": [ONE]})
        clock.now += 1.0
        assert (await client.shown(), client.sandbox.listed) == ([ONE], {ONE})

        assert await done(client, "delist", ONE) == ("pending", {"existing_numbers": [ONE]})
        assert await done(client, "publish", ONE) == ("pending", {"new_numbers": [ONE]})


async def test_publish_during_a_delist_is_ignored() -> None:
    """Publishing during a delist is answered normally but ignored; afterwards it works again."""
    clock = ManualClock()
    async with account(clock=clock, delisting_seconds=30.0) as client:
        other = client.sandbox.add_feature_set("other")
        await client.manage("publish", ONE)
        assert await done(client, "delist", ONE) == ("pending", {"existing_numbers": [ONE]})
        clock.now += 29.0
        assert await client.shown() == [ONE]
        assert await done(client, "publish", ONE) == ("pending", {"new_numbers": [ONE]})
        assert await done(client, "publish", ONE, feature_set=other) == ("pending", {"new_numbers": [ONE]})
        assert await done(client, "delist", ONE) == ("pending", {"processing_numbers": [ONE]})
        clock.now += 1.0
        assert (await client.shown(), client.sandbox.listed) == ([], set())

        await client.manage("publish", ONE)
        assert await client.shown() == [ONE]


async def test_buckets_of_a_mixed_publish() -> None:
    """Publishing sorts new, listed, foreign and malformed numbers into their buckets, repeated ones once."""
    async with account() as client:
        other = client.sandbox.add_feature_set("other")
        await client.manage("publish", ONE)
        await client.manage("publish", TWO, feature_set=other)

        assert await done(client, "publish", ONE, TWO, THREE, THREE, f"+{THREE}", "12") == (
            "pending",
            {
                "existing_numbers": [ONE],
                "other_feature_set_numbers": [TWO],
                "new_numbers": [THREE],
                "invalid_numbers": [f"+{THREE}", "12"],
            },
        )
        assert client.sandbox.listed == {ONE, TWO, THREE}


async def test_buckets_of_a_mixed_delist() -> None:
    """Delisting removes the numbers of the set, and no others."""
    async with account() as client:
        other = client.sandbox.add_feature_set("other")
        await client.manage("publish", ONE)
        await client.manage("publish", TWO, feature_set=other)

        assert await done(client, "delist", ONE, TWO, THREE, "12") == (
            "pending",
            {
                "existing_numbers": [ONE],
                "other_feature_set_numbers": [TWO],
                "new_numbers": [THREE],
                "invalid_numbers": ["12"],
            },
        )
        assert client.sandbox.listed == {TWO}


@pytest.mark.parametrize("status", [200, 400])
async def test_failed(status: int) -> None:
    """If no number can be processed, the body says failed, with the status that the rules set."""
    async with account(failed_status=status) as client:
        delist = await client.manage("delist", ONE)
        publish = await client.manage("publish", "12")

    assert (delist.status, delist.json["status"], filled(delist.json)) == (status, "failed", {"new_numbers": [ONE]})
    assert (publish.status, publish.json["status"]) == (status, "failed")


async def test_status_that_is_in_no_document() -> None:
    """An undocumented status replaces only pending."""
    async with account(unknown_status="queued") as client:
        statuses = [
            (await client.manage(action, ONE)).json["status"] for action in ("publish", "delist", "delist", "publish")
        ]

        assert statuses == ["queued", "queued", "failed", "queued"]


@pytest.mark.parametrize("action", ["publish", "delist"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "the body must be a JSON object"),
        ({}, "phone_numbers is required"),
        ({"phone_numbers": "911234567891"}, "phone_numbers must be an array of strings"),
        ({"phone_numbers": [911234567891]}, "phone_numbers must be an array of strings"),
        ({"phone_numbers": []}, "phone_numbers must have 1 to 10000 entries"),
        ({"phone_numbers": ["911234567891"] * 10_001}, "phone_numbers must have 1 to 10000 entries"),
    ],
)
async def test_body_without_numbers(action: str, body: Any, message: str) -> None:
    """A body needs 1 to 10,000 strings; any other is refused."""
    async with account() as client:
        path = f"/number_management/feature_sets/{FEATURE_SET}/numbers/{action}"
        answer = await client.send("POST", path, json=body)

        assert (answer.status, answer.json["message"]) == (400, f"Request body is invalid: {message}")
        assert client.sandbox.listed == set()


async def test_most_numbers() -> None:
    """10,000 numbers are accepted."""
    async with account() as client:
        answer = await client.manage("publish", *[f"91{number:010}" for number in range(10_000)])

        assert (answer.status, len(client.sandbox.listed)) == (200, 10_000)


@pytest.mark.parametrize("action", ["publish", "delist"])
async def test_unknown_feature_set(action: str) -> None:
    """An unknown feature set gets 404."""
    async with account() as client:
        answer = await client.manage(action, ONE, feature_set="unknown")

        assert (answer.status, answer.json) == (404, {"slug": "not-found", "message": "feature set not found"})


async def test_sparse_buckets() -> None:
    """In sparse answers some empty arrays are null and some are missing."""
    async with account(sparse=True) as client:
        body = (await client.manage("publish", ONE)).json

    assert (body.pop("new_numbers"), body.pop("status")) == ([ONE], "pending")
    assert set(body.values()) == {None}
    assert body.keys() < SHARED | {"migrated_numbers", "delisted_numbers", "updated_numbers", "client_account_id"} | {
        "created_by_email",
        "phone_type",
    }


async def test_shown_number() -> None:
    """A listed number has every documented field, with the times of its listing."""
    clock = ManualClock()
    async with account(clock=clock, listing_seconds=4.0) as client:
        await client.manage("publish", ONE)
        clock.now += 60.0
        (shown,) = (await client.numbers()).json["numbers"]
        account_id = client.sandbox.credentials.client_account_id

    times = [shown.pop("created_at"), shown.pop("updated_at")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{2,6}Z", one) for one in times)
    assert times == sorted(set(times))
    assert shown == {
        "phone_number": ONE,
        "phone_type": "verified",
        "status": "listed",
        "client_account_id": account_id,
        "created_by_email": "someone@example.com",
        "department": "Sales",
        "operation": "Delivery",
        "process": "Flowers",
        "subprocess": "",
        "feature_set_name": "prio1",
        "call_me_back": "disabled",
        "label_name": "Flower shop",
    }


def test_nothing_is_listed_before_the_start() -> None:
    """Listing before the sandbox is started raises an error that says so."""
    from truecaller_vbc.sandbox import Sandbox  # noqa: PLC0415

    with pytest.raises(RuntimeError, match="lists numbers once it is entered"):
        _ = Sandbox().listed


moves = st.lists(
    st.tuples(st.sampled_from(["publish", "delist"]), st.sampled_from([ONE, TWO]), st.integers(0, 3)), max_size=30
)


@given(moves=moves)
def test_book_against_a_state_machine(moves: list[tuple[str, str, int]]) -> None:
    """After any sequence of calls the numbers are as in a state machine of the documented steps."""
    book = NumberStore(ApiRules(listing_seconds=2.0, delisting_seconds=2.0))
    states: dict[str, tuple[str, float]] = {}
    now = 0.0
    for action, number, gap in moves:
        now += gap
        for known, (state, until) in list(states.items()):
            if state == "listing" and until <= now:
                states[known] = ("listed", 0.0)
            if state == "delisting" and until <= now:
                del states[known]
        state = states.get(number, ("unknown", 0.0))[0]
        buckets = getattr(book, action)("set", [number], now)
        if action == "publish":
            bucket = "existing_numbers" if state in {"listing", "listed"} else "new_numbers"
            if state == "unknown":
                states[number] = ("listing", now + 2.0)
        else:
            bucket = {"unknown": "new_numbers", "listed": "existing_numbers"}.get(state, "processing_numbers")
            if state == "listed":
                states[number] = ("delisting", now + 2.0)
        assert buckets == {bucket: [number]}
        listed = {known for known, (state, _) in states.items() if state in {"listed", "delisting"}}
        assert {known.digits for known in book.listed(now)} == listed
