"""Check call records against the documented rules."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc.sandbox.records import EITHER, NO_PLUS, WITH_PLUS, RecordRules

from .sandbox_account import HOUR, LABEL

NOW = 1_753_088_751_000
RULES = RecordRules(NO_PLUS, {LABEL})
FORBIDDEN = "!@#$%^&*()_+/"


def record(**changes: Any) -> dict[str, Any]:
    return {
        "label_id": LABEL,
        "dynamic_label_name": "Flower shop",
        "dynamic_call_reason": "Flower Delivery",
        "caller_number": "911234567890",
        "receiver_number": "919876543210",
        "starts_at": NOW,
        "ends_at": NOW + 4 * HOUR,
    } | changes


def without(*fields: str) -> dict[str, Any]:
    return {name: value for name, value in record().items() if name not in fields}


@pytest.mark.parametrize(
    "good",
    [
        record(),
        without("dynamic_label_name", "dynamic_call_reason"),
        record(extra=1),
        record(starts_at=NOW - HOUR),
        record(ends_at=NOW, starts_at=NOW - 1),
        record(ends_at=NOW + 24 * HOUR),
        record(dynamic_label_name="x" * 3),
        record(dynamic_label_name="x" * 40),
        record(dynamic_label_name="A & B!"),
        record(dynamic_call_reason="x" * 10),
        record(dynamic_call_reason="x" * 100),
        record(dynamic_call_reason="ä" * 100),
        record(dynamic_call_reason="One, two - three. Four?"),
        record(caller_number="1234567"),
        record(caller_number="123456789012345"),
        record(receiver_number="911234567890"),
    ],
)
def test_good_record(good: dict[str, Any]) -> None:
    """The documented example, records without optional fields, and values at the limits are valid."""
    assert RULES.problem(good, NOW) is None


@pytest.mark.parametrize(
    ("bad", "field", "message"),
    [
        (without("label_id"), "label_id", "label_id is required"),
        (record(label_id=""), "label_id", "label_id is required"),
        (record(label_id="unknown"), "label_id", "label_id must be a dynamic label of the client account"),
        (record(label_id=[LABEL]), "label_id", "label_id must be a dynamic label of the client account"),
        (without("caller_number"), "caller_number", "caller_number is required"),
        (without("receiver_number"), "receiver_number", "receiver_number is required"),
        (without("starts_at"), "starts_at", "starts_at is required"),
        (without("ends_at"), "ends_at", "ends_at is required"),
        (record(starts_at=str(NOW)), "starts_at", "starts_at must be an integer of epoch milliseconds"),
        (record(starts_at=float(NOW)), "starts_at", "starts_at must be an integer of epoch milliseconds"),
        (record(starts_at=True), "starts_at", "starts_at must be an integer of epoch milliseconds"),
        (record(starts_at=-1), "starts_at", "starts_at must be an integer of epoch milliseconds"),
        (record(ends_at=2**63), "ends_at", "ends_at must be an integer of epoch milliseconds"),
        (record(ends_at=NOW - 1, starts_at=NOW - 2), "ends_at", "ends_at cannot be in the past"),
        (record(ends_at=NOW // 1000 + HOUR, starts_at=NOW // 1000), "ends_at", "ends_at cannot be in the past"),
        (record(starts_at=NOW + HOUR, ends_at=NOW + HOUR), "ends_at", "ends_at must be after starts_at"),
        (
            record(ends_at=NOW + 24 * HOUR + 1),
            "ends_at",
            "ends_at cannot be more than 24 hours after starts_at",
        ),
        (record(dynamic_label_name="x" * 2), "dynamic_label_name", "dynamic_label_name must have 3 to 40 characters"),
        (record(dynamic_label_name="x" * 41), "dynamic_label_name", "dynamic_label_name must have 3 to 40 characters"),
        (record(dynamic_label_name=None), "dynamic_label_name", "dynamic_label_name must have 3 to 40 characters"),
        (
            record(dynamic_call_reason="x" * 9),
            "dynamic_call_reason",
            "dynamic_call_reason must have 10 to 100 characters",
        ),
        (
            record(dynamic_call_reason="x" * 101),
            "dynamic_call_reason",
            "dynamic_call_reason must have 10 to 100 characters",
        ),
        (record(dynamic_call_reason=None), "dynamic_call_reason", "dynamic_call_reason must have 10 to 100 characters"),
        (None, "", "a call record must be a JSON object"),
        ([record()], "", "a call record must be a JSON object"),
    ],
)
def test_bad_record(bad: Any, field: str, message: str) -> None:
    """Each rule names the field, in the documents' words where there are any."""
    assert RULES.problem(bad, NOW) == (field, message)


@pytest.mark.parametrize("character", FORBIDDEN)
def test_forbidden_characters(character: str) -> None:
    """The reason must not contain any of the forbidden characters."""
    problem = RULES.problem(record(dynamic_call_reason=f"Flower {character} Delivery"), NOW)

    assert problem is not None
    assert (problem.field, "cannot contain" in problem.message) == ("dynamic_call_reason", True)


@pytest.mark.parametrize("end", ["{}Flower Delivery", "Flower Delivery{}"])
@pytest.mark.parametrize("character", ".,- ")
def test_characters_that_must_not_be_at_the_ends(end: str, character: str) -> None:
    """The reason must not begin or end with a full stop, comma, hyphen or space."""
    problem = RULES.problem(record(dynamic_call_reason=end.format(character)), NOW)

    assert problem is not None
    assert (problem.field, "begin or end" in problem.message) == ("dynamic_call_reason", True)


@pytest.mark.parametrize(
    ("numbers", "good", "bad"),
    [
        (NO_PLUS, ["911234567890"], ["+911234567890"]),
        (WITH_PLUS, ["+911234567890"], ["911234567890"]),
        (EITHER, ["911234567890", "+911234567890"], ["++911234567890"]),
    ],
)
@pytest.mark.parametrize("field", ["caller_number", "receiver_number"])
def test_number_formats(numbers: re.Pattern[str], good: list[str], bad: list[str], field: str) -> None:
    """Numbers have a plus, no plus, or either, as the endpoint requires."""
    rules = RecordRules(numbers, {LABEL})
    other = {"caller_number": good[0], "receiver_number": good[0]}

    assert [rules.problem(record(**other | {field: number}), NOW) for number in good] == [None] * len(good)
    for number in [
        *bad,
        "0911234567890",
        "91 1234567890",
        "123456",
        "1" * 16,
        "٩١١٢٣٤٥٦٧٨٩٠",
        911234567890,
        good[0] + "\n",
    ]:
        problem = rules.problem(record(**other | {field: number}), NOW)
        assert problem is not None, number
        assert (problem.field, "must be" in problem.message) == (field, True)


def test_labels_may_be_added_later() -> None:
    """Labels that were added later are accepted."""
    labels = {LABEL}
    rules = RecordRules(NO_PLUS, labels)
    assert rules.problem(record(label_id="new"), NOW) is not None

    labels.add("new")
    assert rules.problem(record(label_id="new"), NOW) is None


ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        10**30,
        0.5,
        float("nan"),
        float("inf"),
        "",
        " ",
        "\ud800",
        "\x00",
        "+",
        "9" * 5000,
        [],
        {},
        [{}],
    ]
)


@given(changes=st.dictionaries(st.sampled_from(sorted(record())), ODD))
def test_nothing_breaks_the_check(changes: dict[str, Any]) -> None:
    """Whatever JSON a field holds, the check returns a field or None, and never raises."""
    problem = RULES.problem(record(**changes), NOW)

    assert problem is None or problem.field in record()
