"""Test that any variation of a documented answer is read into a model."""

from __future__ import annotations

import copy
import json
import random
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc import APIError, Batch, BatchStatus, BusinessNumber, FeatureSet, Label, RecordStatus, Status
from truecaller_vbc.api.wire import read, read_list

from .sandbox_session import sandbox_session

STATUS: dict[str, Any] = {
    "client_account_id": "91c173bb-28d8-4030-9722-8663ff9589f3",
    "batch_id": "0ca10281-11a0-4f86-bb27-7452da543cb6",
    "data": [
        {
            "id": "c458227a-a730-4ced-81b4-19c21ea8d97c",
            "caller_number": "911234567890",
            "receiver_number": "919876543210",
            "label_id": "c6d86658-008d-4c08-98fb-2bf2649d59a5",
            "dynamic_label_name": "Example Bank KYC",
            "dynamic_call_reason": "Calling you for KYC Verification",
            "starts_at": 1753246858000,
            "ends_at": 1753275658000,
            "status_info": {"status": "success"},
            "created_at": "2025-07-23T05:00:58.383Z",
        }
    ],
}
LABELS: list[Any] = [
    {
        "id": "255297eb-7f13-44f9-967a-f287ff0f5025",
        "name": "FlowerEra",
        "category": 10,
        "sub_category": 142,
        "created_at": "2025-07-07T06:53:55.402122Z",
        "label_type": "dynamic",
    }
]
FEATURE_SETS: dict[str, Any] = {
    "feature_sets": [
        {"id": "069d2e3a", "name": "prio1", "status": "draft", "video_caller_id": None, "call_me_back": False}
    ]
}
NUMBERS: dict[str, Any] = {
    "numbers": [
        {
            "phone_number": "911234567890",
            "status": "listed",
            "call_me_back": "enabled",
            "created_at": "2025-07-28T09:25:19.557139Z",
        }
    ],
    "pagination_information": {"total_page_count": 1},
}


def test_documented_answers() -> None:
    """The documents' example answers are read into models."""
    status = read(STATUS, BatchStatus)
    (record,) = status.data
    assert (status.batch_id, status.final) == ("0ca10281-11a0-4f86-bb27-7452da543cb6", True)
    assert record == RecordStatus(
        id="c458227a-a730-4ced-81b4-19c21ea8d97c",
        caller_number="+911234567890",
        receiver_number="+919876543210",
        label_id="c6d86658-008d-4c08-98fb-2bf2649d59a5",
        dynamic_label_name="Example Bank KYC",
        dynamic_call_reason="Calling you for KYC Verification",
        starts_at=datetime(2025, 7, 23, 5, 0, 58, tzinfo=UTC),
        ends_at=datetime(2025, 7, 23, 13, 0, 58, tzinfo=UTC),
        status_info=attrs.evolve(record.status_info),
        created_at=datetime(2025, 7, 23, 5, 0, 58, 383000, tzinfo=UTC),
    )
    assert record.status is Status.SUCCESS
    (label,) = read_list(LABELS, Label)
    assert (label.category, label.created_at) == (10, datetime(2025, 7, 7, 6, 53, 55, 402122, tzinfo=UTC))
    (feature_set,) = read_list(FEATURE_SETS["feature_sets"], FeatureSet)
    assert (feature_set.status, feature_set.call_me_back, feature_set.video_caller_id) == ("draft", False, "")
    (number,) = read_list(NUMBERS["numbers"], BusinessNumber)
    assert (number.phone_number, number.status, number.call_me_back) == ("+911234567890", Status.LISTED, True)


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"statusInfo": {"status": "success"}}, "status", "success"),
        ({"status_info": None, "statusInfo": {"status": "Success "}}, "status", Status.SUCCESS),
        ({"status_info": "success"}, "status", Status.NONE),
        ({"receiverNumber": "911234567890"}, "receiver_number", "+911234567890"),
        ({"caller": "911234567890"}, "caller_number", "+911234567890"),
        ({"call_reason": "x"}, "dynamic_call_reason", "x"),
        ({"receiver_number": 911234567890}, "receiver_number", "+911234567890"),
        ({"starts_at": "1753246858000"}, "starts_at", datetime(2025, 7, 23, 5, 0, 58, tzinfo=UTC)),
        ({"starts_at": "2025-07-23T05:00:58.38Z"}, "starts_at", datetime(2025, 7, 23, 5, 0, 58, 380000, tzinfo=UTC)),
        (
            {"starts_at": "2025-07-23T05:00:58.1234567Z"},
            "starts_at",
            datetime(2025, 7, 23, 5, 0, 58, 123456, tzinfo=UTC),
        ),
        # Read as ISO 8601, it would be a time in the year 1712.
        ({"starts_at": "1712121200000"}, "starts_at", datetime(2024, 4, 3, 5, 13, 20, tzinfo=UTC)),
        ({"starts_at": "no time"}, "starts_at", None),
        ({"starts_at": 1e300}, "starts_at", None),
        ({"starts_at": True}, "starts_at", None),
        ({"starts_at": []}, "starts_at", None),
        ({"id": 7}, "id", "7"),
        ({"id": {"a": 1}}, "id", ""),
    ],
)
def test_unusual_fields(given: dict[str, Any], field: str, value: object) -> None:
    """A field is read in every known form, and is otherwise treated as missing."""
    assert getattr(read(given, RecordStatus), field) == value


def test_undocumented_words_are_kept() -> None:
    """They compare and hash as text."""
    odd = read({"status": "Simmering"}, FeatureSet).status

    assert (odd, odd.known, odd.final, repr(odd)) == ("Simmering", False, False, "<Status.UNKNOWN: 'Simmering'>")
    assert {"Simmering": 1}[odd] == 1
    assert copy.deepcopy(odd) == odd


ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1e308,
    float("inf"),
    "",
    "x",
    "1",
    [],
    {},
    [[]],
    [None],
    {"a": None},
    "9" * 5000,
    10**400,
]


def mutate(value: Any, rng: random.Random) -> Any:
    """Return the same JSON with one random change."""
    if rng.random() < 0.2 or not isinstance(value, dict | list) or not value:
        return rng.choice(ODD)
    value = copy.copy(value)
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    match rng.randrange(4):
        case 0:
            del value[key]
        case 1 if isinstance(value, dict):
            value[rng.choice(["slug", "message", "status", "x", key.title().replace("_", "")])] = value.pop(key)
        case _:
            value[key] = mutate(value[key], rng)
    return value


@pytest.mark.parametrize("seed", range(500))
def test_mutations_of_the_documented_answers(seed: int) -> None:
    """Randomly changed answers are read into models with fields of the declared types."""
    rng = random.Random(seed)
    for answer, kind in ((STATUS, BatchStatus), (LABELS[0], Label), (FEATURE_SETS["feature_sets"][0], FeatureSet)):
        changed: Any = answer
        for _ in range(rng.randint(1, 4)):
            changed = mutate(changed, rng)
        model = read(changed, kind)
        assert isinstance(model, kind)
        for field in attrs.fields(kind):
            value = getattr(model, field.name)
            assert value is None or isinstance(value, str | int | bool | datetime | tuple)
            assert repr(value) is not None


@pytest.mark.slow
@given(st.integers(0, 10**9))
async def test_mutations_on_the_wire(seed: int) -> None:
    """Randomly changed answers from a real socket give models or an APIError."""
    rng = random.Random(seed)

    def changed(answer: Any) -> bytes:
        for _ in range(rng.randint(1, 3)):
            answer = mutate(answer, rng)
        return json.dumps(answer).encode()

    async with sandbox_session() as (sandbox, vbc):
        for endpoint, answer in (
            ("status", STATUS),
            ("labels", LABELS),
            ("feature_sets", FEATURE_SETS),
            ("numbers", NUMBERS),
        ):
            name: Any = endpoint
            sandbox.fail_next(name, status=rng.choice([200, 200, 201, 400, 404, 500]), body=changed(answer))
        for call in (
            vbc.calls.batch_status(Batch("x", "v3", 1)),
            vbc.labels.list(),
            anext(vbc.numbers.feature_sets(), None),
            anext(vbc.numbers.numbers(), None),
        ):
            try:
                await call
            except APIError as error:
                assert str(error)


def test_batch_is_final_when_all_records_are() -> None:
    """A batch without records, or with a pending one, is not final."""
    done = {"status_info": {"status": "success"}}

    assert not read({"data": []}, BatchStatus).final
    assert not read({"data": [done, {}]}, BatchStatus).final
    assert read({"data": [done, done]}, BatchStatus).final
