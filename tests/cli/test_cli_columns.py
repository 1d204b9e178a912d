"""Match columns to fields, fill in constants, and build call records from rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truecaller_vbc.api.records import CallRecord
from truecaller_vbc.call_lists.columns import match_columns
from truecaller_vbc.call_lists.formats import FIELDS, Row
from truecaller_vbc.cli.calls.list_options import RecordRules, RowParser
from truecaller_vbc.errors import ConfigurationError

from .record_files import CALLER, HEADER, LABEL, line, number

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
WINDOW = {"date": "tomorrow", "window": "10:00-18:00", "timezone": "Asia/Kolkata"}
ALL: dict[str, Any] = {"caller": CALLER, "label": LABEL, "reason": "Delivery of your parcel", **WINDOW}
TEN, SIX = "2026-11-27T10:00:00+05:30", "2026-11-27T18:00:00+05:30"
CELLS = {"caller_number": CALLER, "receiver_number": number(0), "starts_at": TEN, "ends_at": SIX, "label_id": LABEL}


def _rules(**options: Any) -> RecordRules:
    return RecordRules(now=NOW, **options)


def _record(cells: Mapping[str, Any], labels: Mapping[str, str] | None = None, **options: Any) -> CallRecord | str:
    return RowParser(_rules(**options), labels).record(Row(2, cells))


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    "names",
    [
        HEADER.split(","),
        HEADER.upper().split(","),
        ["Caller Number", " receiver-number\xa0", "\u200bStarts At", "ENDSAT", "\ufeffLabel  ID"],
        [*HEADER.split(","), "push_line", "Push Outcome", "push_reason", "push_batch_id"],
    ],
    ids=["same", "upper", "marks", "exported"],
)
def test_header_without_case_and_marks(names: list[str]) -> None:
    """Case, spaces, hyphens, underscores and invisible marks do not matter; columns of an export are left out."""
    places = match_columns(_rules(), names)

    assert places == (*names[:5], None, None)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ((*CELLS, "customer_name", "order_id"), {}, "'customer_name', 'order_id': not a column of a call record"),
        ((*CELLS, "customer_name"), {}, "leave it out with --ignore-extra, or say what it is with --column"),
        ((*CELLS, "Receiver Number"), {}, "receiver_number is there 2 times ('receiver_number', 'Receiver Number')"),
        ((*CELLS, "receiver_number (2)"), {"ignore_extra": True}, "--column receiver_number=COLUMN --ignore-extra"),
        ((*CELLS, "Mobile"), {"columns": {"receiver_number": "Mobile"}}, "'receiver_number': not a column"),
        (tuple(CELLS), {"columns": {"receiver_number": "Mobile"}}, "--column receiver_number=Mobile: choose one"),
        (("Mobile", "Name"), {}, "there is no column of a call record ('Mobile', 'Name'): line 1 must be the header"),
        (("receiver_number",), {}, "a column is missing: caller_number (--caller), starts_at (--starts-at, or --date"),
        (("receiver_number",), ALL | {"label": None}, "a column is missing: label_id (--label NAME-OR-ID"),
        (("caller_number",), ALL, "a column is missing: receiver_number (--column receiver_number=COLUMN"),
        (tuple(f"n{it}" for it in range(9)), {}, "'n5' and 3 more"),
    ],
)  # fmt: skip
def test_header_that_does_not_fit(columns: tuple[str, ...], options: Any, words: str) -> None:
    """The message names the columns and the options."""
    parser = RowParser(_rules(**options))
    fault = parser.columns_fault(columns)

    assert words in fault
    assert parser.record(Row(2, dict.fromkeys(columns, ""))) == fault


def test_columns_of_a_crm() -> None:
    """With a mapping, constants and a country, an export that knows none of our names gives a record."""
    cells = {"Contact Id": "zcrm_1", "Contact Name": "Test Person", "MOBILE ": "9812300001", "Modified Time": "x"}
    record = _record(cells, columns={"receiver_number": "Mobile"}, ignore_extra=True, country="IN", **ALL)

    assert isinstance(record, CallRecord)
    assert record == CallRecord(
        caller_number=CALLER,
        receiver_number="+919812300001",
        starts_at=_ms(TEN),
        ends_at=_ms(SIX),
        label_id=LABEL,
        dynamic_call_reason="Delivery of your parcel",
    )


def test_mapping_wins_over_the_name() -> None:
    """A column that is chosen takes the place of the one with the field's name; an exact name wins."""
    cells = CELLS | {"Mobile": number(1), "mobile": number(2)}
    record = _record(cells, columns={"receiver_number": "mobile"}, ignore_extra=True)

    assert isinstance(record, CallRecord)
    assert record.receiver_number == number(2)


@pytest.mark.parametrize("blank", ["", "  ", "\xa0"])
def test_cell_wins_over_a_constant(blank: str) -> None:
    """A constant is for rows whose cell is blank."""
    options: dict[str, Any] = {
        "reason": "The reason of the option",
        "label_name": "Shop",
        "starts_at": TEN,
        "ends_at": SIX,
    }
    cells = CELLS | {"dynamic_call_reason": "The reason of the row", "dynamic_label_name": "Row"}
    full = _record(cells, caller="+911234567899", label="other", **options)
    empty = _record(
        dict.fromkeys(cells, blank) | {"receiver_number": number(0)}, caller="+911234567899", label="other", **options
    )

    assert isinstance(full, CallRecord)
    assert isinstance(empty, CallRecord)
    assert (full.caller_number, full.label_id) == (CALLER, LABEL)
    assert (full.dynamic_call_reason, full.dynamic_label_name) == ("The reason of the row", "Row")
    assert (empty.caller_number, empty.label_id) == ("+911234567899", "other")
    assert (empty.dynamic_call_reason, empty.dynamic_label_name) == ("The reason of the option", "Shop")
    assert (empty.starts_at, empty.ends_at) == (_ms(TEN), _ms(SIX))


@pytest.mark.parametrize(
    ("given_label", "options", "label"),
    [
        (LABEL, {}, LABEL),
        (LABEL, {"label": "other"}, LABEL),
        (LABEL, {"no_label": True}, LABEL),
        ("", {"label": "other"}, "other"),
        ("  ", {"label": "other"}, "other"),
        ("", {"no_label": True}, None),
        (None, {"label": "other"}, None),
        (None, {}, None),
        ("", {}, "label_id: is missing: give --label NAME-OR-ID, or --no-label to send without"),
        (5, {}, "label_id: must be the name or the ID of a label"),
        ([5], {}, "label_id: must be the name or the ID of a label"),
    ],
)
def test_missing_label(given_label: Any, options: Any, label: str | None) -> None:
    """A label is filled in only for an empty cell; null in JSON means no label."""
    record_or_fault = _record(CELLS | {"label_id": given_label}, **options)

    assert (record_or_fault if isinstance(record_or_fault, str) else record_or_fault.label_id) == label


def test_labels_that_are_looked_up() -> None:
    """A label may be given by name, without case, or by ID; until they are known any text passes, and is counted."""
    labels = {"flower shop": "id-1", "id-1": "id-1", "ID-2": "ID-2"}
    before = RowParser(_rules(label="Flower Shop"))
    after = RowParser(_rules(label="Flower Shop"), labels)
    rows = [Row(place, CELLS | {"label_id": it}) for place, it in enumerate(["", "FLOWER shop", "ID-2", "बैंक", ""], 2)]
    found = [after.record(row) for row in rows]

    assert all(isinstance(before.record(row), CallRecord) for row in rows)
    assert before.labels_used == {"Flower Shop": (2, 2), "FLOWER shop": (1, 3), "ID-2": (1, 4), "बैंक": (1, 5)}
    assert [it.label_id for it in found if isinstance(it, CallRecord)] == ["id-1", "id-1", "ID-2", "id-1"]
    assert found[3] == "label_id: 'बैंक' is no label of this account: see `truecaller-vbc labels list`"
    assert after.labels_used == {}


def test_all_problems_of_a_row() -> None:
    """Problems of all fields stand in one line, in the words of the command line."""
    fault = _record(dict.fromkeys(CELLS, "") | {"receiver_number": "9812300001", "dynamic_call_reason": "no (way)"})

    assert fault == (
        "caller_number: is missing: fill it in, or give --caller; "
        "receiver_number: '9812300001' is not in E.164, the country code is missing: give --country IN (or yours), or "
        "write it with +; "
        "starts_at: is missing: fill it in, or give --starts-at, or --date and --window; "
        "ends_at: is missing: fill it in, or give --ends-at, or --date and --window; "
        "label_id: is missing: give --label NAME-OR-ID, or --no-label to send without; "
        "dynamic_call_reason: must have 10 to 100 characters, not 8, and must not have ( )"
    )


def test_objects_of_different_names() -> None:
    """Each JSON object may have other names; a closed window is a fault of its own."""
    parser = RowParser(_rules(label="x", ignore_extra=False))
    less = {name: value for name, value in CELLS.items() if name != "label_id"}

    assert isinstance(parser.record(Row(1, CELLS)), CallRecord)
    assert isinstance(parser.record(Row(2, less)), CallRecord)
    assert "'x': not a column" in str(parser.record(Row(3, CELLS | {"x": 1})))
    assert isinstance(parser.record(Row(4, CELLS)), CallRecord)
    assert parser.fault(Row(5, CELLS), NOW) == ""
    assert parser.fault(Row(5, CELLS), NOW + 10**6) == "ends_at: lies in the past: the window has closed"
    assert parser.fault(Row(6, {}, "cannot be read"), NOW) == "cannot be read"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": {"mobile": "x"}}, "--column 'mobile' is not a field: write FIELD=COLUMN"),
        ({"label": "x", "no_label": True}, "--label and --no-label contradict each other"),
        ({"date": "today"}, "--date and --window belong together"),
        ({"window": "10:00-18:00"}, "--date and --window belong together"),
        ({**WINDOW, "starts_at": TEN}, "--date and --window contradict --starts-at and --ends-at"),
        ({"date": "today", "window": "10:00-18:00"}, "need --timezone, such as Asia/Kolkata"),
        ({"timezone": "IST"}, "--timezone 'IST' is not known"),
        ({"country": "India"}, "--country 'India' is not known"),
        ({"caller": "1140000000"}, "--caller: '1140000000' is not in E.164, the country code is missing"),
        ({"caller": "114000000", "country": "IN"}, "--caller: '114000000' is impossible as a number of IN"),
        ({"reason": "no"}, "--reason: must have 10 to 100 characters"),
        ({"label_name": "no"}, "--label-name: must have 3 to 40 characters"),
        ({"starts_at": "10:00"}, "--starts-at: '10:00' has no date"),
        ({"starts_at": SIX, "ends_at": TEN}, "ends_at: must be after starts_at"),
        ({"starts_at": TEN, "ends_at": "2026-11-29T10:00+05:30"}, "ends_at: must be at most 24 hours"),
        ({"ends_at": "2026-11-29 10:00"}, "'2026-11-29 10:00' has no time zone"),
        ({"date_format": "%d-%m-%Y"}, "--date-format '%d-%m-%Y' has no hour"),
    ],
)
def test_wrong_options(options: Any, words: str) -> None:
    """A wrong option is a wrong setting, and the message names it."""
    with pytest.raises(ConfigurationError) as caught:
        _rules(**options)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        ALL,
        {"columns": {"receiver_number": "Mobile"}, "ignore_extra": True, "no_label": True, "country": "IN"},
        {"starts_at": "27-11-2026 10:00", "date_format": "%d-%m-%Y %H:%M", "timezone": "Asia/Kolkata"},
    ],
)
def test_facts_give_the_same_rules(options: Any) -> None:
    """The facts are JSON, in which the day is resolved: read again on another day they give the same constants."""
    rules = _rules(**options)
    facts = json.loads(json.dumps(rules.facts()))
    again = RecordRules(now=NOW + 10**6, **facts)

    assert again.constants == rules.constants
    assert again.facts() == facts
    assert not {"date", "window", "now", "constants"}.intersection(facts)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
@given(values=st.lists(_JSON, min_size=7, max_size=7), names=st.permutations(FIELDS))
def test_any_cells(values: list[Any], names: list[str]) -> None:
    """The description of any invalid record is one printable line of at most 1,000 characters."""
    for options in ({"label": LABEL}, {**ALL, "country": "IN"}):
        record_or_fault = _record(dict(zip(names, values, strict=True)), **options)
        if isinstance(record_or_fault, str):
            assert record_or_fault
            assert record_or_fault.isprintable()
            assert len(record_or_fault) <= 1000


def test_lists_in_place_of_values() -> None:
    """A list in place of a value is a fault; a row as it is in a file gives a record."""
    assert isinstance(_record({"receiver_number": [1]} | dict.fromkeys(CELLS)), str)
    assert _record(CELLS | {"caller_number": [1]}) == "has a list or an object in place of a value"
    assert isinstance(_record(dict(zip(HEADER.split(","), line(0).split(","), strict=True))), CallRecord)
