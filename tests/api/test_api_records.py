"""Test that all problems of records and numbers are found before anything is sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc import CallRecord, InvalidRecordError
from truecaller_vbc.api.calls import _RENDERING
from truecaller_vbc.api.numbers import check_numbers
from truecaller_vbc.api.wire import as_e164

from .sandbox_session import HOUR, LABEL, fields, record, sandbox_session

NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("caller_number", "911234567890", "a plus and the country code are needed"),
        ("caller_number", "+91 (123) 456-7890", "write '\\+911234567890'"),
        ("caller_number", "0091 1234567890", "a plus and the country code are needed"),
        ("caller_number", "9812300001", "a plus and the country code are needed"),
        ("caller_number", "919876500001.0", "a plus and the country code are needed"),
        ("caller_number", "+91 (0) 12345 67890", "is no phone number"),
        ("caller_number", "+0123456789", "E.164"),
        ("caller_number", "+123456", "E.164"),
        ("caller_number", "+1234567890123456", "E.164"),
        ("caller_number", "+٩١١٢٣٤٥٦٧٨٩٠", "E.164"),
        ("caller_number", "+9" + "\u0662" * 11, "E.164"),
        ("caller_number", "", "missing"),
        ("receiver_number", None, "missing"),
        ("receiver_number", 911234567890, "string"),
        ("receiver_number", "+911234567890\n", "E.164"),
        ("starts_at", datetime(2026, 1, 1), "time zone"),  # noqa: DTZ001
        ("starts_at", 1_790_000_000, "seconds: milliseconds are needed, 1790000000000"),
        ("starts_at", 1.5, "epoch milliseconds"),
        ("starts_at", True, "epoch milliseconds"),
        ("starts_at", None, "missing"),
        ("starts_at", -1, "epoch milliseconds"),
        ("ends_at", NOW, "after starts_at"),
        ("ends_at", NOW + 24 * HOUR + 1, "24 hours"),
        ("label_id", "", "dynamic label"),
        ("label_id", "a b", "dynamic label"),
        ("label_id", 5, "dynamic label"),
        ("dynamic_label_name", "ab", "3 to 40"),
        ("dynamic_label_name", "a" * 41, "3 to 40"),
        ("dynamic_label_name", "ab\ncd", "control"),
        ("dynamic_label_name", 7, "string"),
        ("dynamic_call_reason", "a" * 9, "10 to 100"),
        ("dynamic_call_reason", "a" * 101, "10 to 100"),
        ("dynamic_call_reason", "-a good reason", "begin or end"),
        ("dynamic_call_reason", "a good reason.", "begin or end"),
        ("dynamic_call_reason", " a good reason", "begin or end"),
        ("dynamic_call_reason", "a good\x00reason", "control"),
        ("dynamic_call_reason", "a good\ud800reason", "control"),
        ("dynamic_call_reason", 1234567890, "string"),
        *[("dynamic_call_reason", f"a good{c} reason", "must not have") for c in "!@#$%^&*()_+/"],
    ],
)
def test_each_rule_of_a_record(field: str, value: object, message: str) -> None:
    """The error names the field and the rule that it breaks."""
    changes: dict[str, Any] = {"starts_at": NOW, "ends_at": NOW + HOUR, field: value}
    with pytest.raises(InvalidRecordError, match=message) as caught:
        record(**changes)

    assert {problem.field for problem in caught.value.problems} == {field}
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "changes",
    [
        {"starts_at": NOW, "ends_at": NOW + 24 * HOUR},
        {"dynamic_label_name": "abc", "dynamic_call_reason": "a" * 10},
        {"dynamic_label_name": "a" * 40, "dynamic_call_reason": "a" * 100},
        {"dynamic_call_reason": "क" * 100},
        {"dynamic_call_reason": "No. 1, well-known"},
        {"dynamic_call_reason": None, "label_id": None},
        {"caller_number": "+1234567", "receiver_number": "+123456789012345"},
    ],
)
def test_bounds_are_allowed(changes: dict[str, Any]) -> None:
    """Values at the bounds are valid."""
    assert isinstance(record(**changes), CallRecord)


def test_all_problems_of_a_record_at_once() -> None:
    """One error names all invalid fields of a record."""
    with pytest.raises(InvalidRecordError) as caught:
        record(
            caller_number="1",
            receiver_number="2",
            starts_at=5,
            ends_at="x",
            label_id="",
            dynamic_label_name="a",
            dynamic_call_reason="!",
        )

    assert [problem.field for problem in caught.value.problems] == [
        "caller_number",
        "receiver_number",
        "starts_at",
        "ends_at",
        "label_id",
        "dynamic_label_name",
        "dynamic_call_reason",
    ]
    assert all(problem.field in str(caught.value) for problem in caught.value.problems)


def test_times_are_datetimes_or_milliseconds() -> None:
    """An aware datetime in any zone is converted to milliseconds."""
    there = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2026, 9, 21, 14, 13, 20, 123999, tzinfo=UTC)

    by_datetime = record(starts_at=moment.astimezone(there), ends_at=moment + timedelta(hours=1))

    assert (by_datetime.starts_at, by_datetime.ends_at) == (1_790_000_000_123, 1_790_003_600_123)


def test_label_is_left_out_only_deliberately() -> None:
    """A missing label is an error; label_id=None leaves it out."""
    with pytest.raises(TypeError, match="label_id"):
        CallRecord(caller_number="+911234567890", receiver_number="+919876543210", starts_at=NOW, ends_at=NOW + 1)  # type: ignore[call-arg]
    with pytest.raises(InvalidRecordError, match="label_id: is missing"):
        CallRecord.from_mapping({name: value for name, value in fields().items() if name != "label_id"})
    with pytest.raises(InvalidRecordError, match="label_id: is missing"):
        CallRecord.from_mapping(fields(label_id=""))

    assert CallRecord.from_mapping(fields(label_id=None)).label_id is None


def test_a_row_of_text() -> None:
    """A row of a CSV file may have ISO 8601 times, digits, and blanks for missing values."""
    row = {
        **fields(),
        "starts_at": "2026-09-21T19:43:20+05:30",
        "ends_at": "1790003600000",
        "dynamic_label_name": "  ",
        "dynamic_call_reason": " Calling you for KYC ",
    }

    made = CallRecord.from_mapping(row)

    assert (made.starts_at, made.ends_at) == (1_790_000_000_000, 1_790_003_600_000)
    assert (made.dynamic_label_name, made.dynamic_call_reason) == (None, "Calling you for KYC")


def test_unknown_column_is_a_problem() -> None:
    """An unknown column is an error, since its value would be lost."""
    with pytest.raises(InvalidRecordError, match="call_reason: is no field") as caught:
        CallRecord.from_mapping({**fields(), "call_reason": "x", None: ["more", "cells"]})  # type: ignore[dict-item]

    assert len(caught.value.problems) == 2
    assert all(problem.receiver == fields()["receiver_number"] for problem in caught.value.problems)
    assert "record (to +********0000): " in str(caught.value)


def test_many_problems_are_counted_and_kept() -> None:
    """The text shows the first problems and counts the others; the attribute has all."""
    with pytest.raises(InvalidRecordError, match="and 80 more") as caught:
        check_numbers(["x"] * 100)

    assert len(caught.value.problems) == 100


@pytest.mark.parametrize("numbers", [[], "+911234567890", ["+911234567890", None], ["911234567890"]])
def test_invalid_lists_of_numbers(numbers: Any) -> None:
    """An empty list, a single string, and values that are not in E.164 are refused."""
    with pytest.raises(InvalidRecordError, match="phone_numbers"):
        check_numbers(numbers)


def test_duplicate_numbers_are_sent_once() -> None:
    """Duplicates are removed, since the API does not document what it does with them."""
    assert check_numbers(["+911234567890", "+911234567891", "+911234567890"]) == ("+911234567890", "+911234567891")


def test_as_e164() -> None:
    """Numbers with and without a plus become E.164; other text stays unchanged."""
    assert as_e164("911234567890") == as_e164("+911234567890") == "+911234567890"
    assert as_e164("Phone number not available") == "Phone number not available"


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from([*fields(), "dynamic_label_name", "x"]), json_like))
def test_any_row_is_a_record_or_one_error(row: dict[str, Any]) -> None:
    """Any row gives a record or an InvalidRecordError."""
    try:
        made = CallRecord.from_mapping(row)
    except InvalidRecordError as error:
        assert error.problems
        assert str(error)
    else:
        sent = json.loads(made.encoded(str, str).encode())
        assert sent == {name: value for name, value in attrs.asdict(made).items() if value is not None}


@pytest.mark.slow
@given(
    name=st.none() | st.text(min_size=3, max_size=40),
    reason=st.none() | st.text(min_size=10, max_size=100),
    hours=st.integers(1, 24),
)
async def test_valid_records_are_accepted_by_the_sandbox(name: str | None, reason: str | None, hours: int) -> None:
    """The rules are at least as strict as the sandbox's, which are written from the documents alone."""
    try:
        made = record(dynamic_label_name=name, dynamic_call_reason=reason)
    except InvalidRecordError:
        return
    async with sandbox_session() as (sandbox, vbc):
        await vbc.calls.push(made)
        await vbc.calls.push_batch([made])
        await vbc.calls.push_batch([made], version="v2")
        assert sum(sandbox.accepted.values()) == 3


def test_records_of_these_tests_have_the_sandbox_s_label() -> None:
    """The records of these tests have a label that the sandbox knows."""
    assert record().label_id == LABEL


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_blank_label_is_missing(blank: str) -> None:
    """A blank cell counts as a missing label, not as one left out deliberately."""
    with pytest.raises(InvalidRecordError, match="label_id: is missing"):
        CallRecord.from_mapping(fields(label_id=blank))


def test_all_problems_of_a_row_at_once() -> None:
    """One error names all problems of a row, unknown columns included."""
    with pytest.raises(InvalidRecordError) as caught:
        CallRecord.from_mapping(fields(label_id=" ", caller_number="1", odd=1))

    assert [problem.field for problem in caught.value.problems] == ["caller_number", "odd", "label_id"]
    assert {problem.receiver for problem in caught.value.problems} == {fields()["receiver_number"]}


class _Lines(str, Enum):  # noqa: UP042 - as it was written before there was a StrEnum
    SALES = "+911234567890"


def test_numbers_in_an_enum() -> None:
    """A number in a str Enum is sent as its value, in every rendering."""
    made = record(caller_number=_Lines.SALES, receiver_number=_Lines.SALES)

    for caller, receiver in _RENDERING.values():
        assert '"_Lines' not in made.encoded(caller, receiver)
        assert json.loads(made.encoded(caller, receiver))["caller_number"] == "+911234567890"


class _NoOffset(tzinfo):
    def utcoffset(self, dt: datetime | None, /) -> timedelta | None:
        return None

    dst = utcoffset

    def tzname(self, dt: datetime | None, /) -> str | None:
        return None


class _Odd(str):
    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"starts_at": 10**5000}, "is no time"),
        ({"receiver_number": 10**5000}, "must be a string"),
        ({"starts_at": datetime(2026, 1, 1, tzinfo=_NoOffset())}, "time zone"),
        ({"dynamic_call_reason": _Odd("a good reason")}, "plain strings"),
    ],
    ids=["time", "number", "zone", "text"],
)
def test_unusual_values_are_refused(changes: dict[str, Any], message: str) -> None:
    """Values of unusual types raise InvalidRecordError as well."""
    with pytest.raises(InvalidRecordError, match=message):
        record(**changes)


def test_window_is_open_until_its_end() -> None:
    """A window is open at its end, and closed a millisecond later."""
    made = record(starts_at=NOW, ends_at=NOW + HOUR)

    assert made.late((NOW + HOUR) / 1000) is None
    assert made.late((NOW + HOUR + 1) / 1000) is not None


@pytest.mark.parametrize("time", [NOW + 0.5, "²" * 13, "9" * 5000, float("inf"), "1.79e12", ""])
def test_invalid_times_of_a_row(time: object) -> None:
    """Text and floats that are not whole numbers or ISO 8601 times are refused."""
    with pytest.raises(InvalidRecordError, match="starts_at"):
        CallRecord.from_mapping(fields(starts_at=time))


def test_rendering_of_each_version() -> None:
    """Numbers are rendered as in the documents' examples, also in a record without any text."""
    made = record(label_id=None, dynamic_call_reason=None)
    sent = {version: json.loads(made.encoded(*both)) for version, both in _RENDERING.items()}

    assert (sent["v3"]["caller_number"], sent["v3"]["receiver_number"]) == ("+911234567890", made.receiver_number)
    assert (sent["v2"]["caller_number"], sent["v2"]["receiver_number"]) == ("+911234567890", made.receiver_number[1:])
