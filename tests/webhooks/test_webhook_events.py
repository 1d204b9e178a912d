"""Parse bodies as documented, bodies that contradict the documents, and bodies that are none."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from truecaller_vbc import WebhookError
from truecaller_vbc.sandbox import webhook_event, webhook_variants
from truecaller_vbc.webhooks import CallMeBack, Event, UnknownEvent, UserFeedback, parse

DOCUMENTED = webhook_event() | {"event_id": "860a7f4c-6545-40f1-85be-3655edde650f", "created_at": "1753945760"}


def _parse(event: object, **payload: Any) -> Any:
    if payload:
        event = DOCUMENTED | {"cmb_payload": DOCUMENTED["cmb_payload"] | payload}
    return parse(json.dumps(event))


def test_documented_call_me_back() -> None:
    """Every field of the documented example has its type."""
    event = _parse(DOCUMENTED)

    assert event == CallMeBack(
        event_id="860a7f4c-6545-40f1-85be-3655edde650f",
        event_type="cmb",
        client_account_id="91c173bb-28d8-4030-9722-8663ff9589f3",
        created_at=datetime(2025, 7, 31, 7, 9, 20, tzinfo=UTC),
        client_number="+911234567890",
        business_number="+910987654321",
        alternate_number=None,
        slot=(datetime(2025, 8, 2, 6, 30, tzinfo=UTC), datetime(2025, 8, 2, 7, 0, tzinfo=UTC)),
        requested_at=datetime(2025, 7, 31, 7, 9, 20, tzinfo=UTC),
        requested_date=date(2025, 8, 2),
        requested_slot="Saturday",
        is_interested=True,
        feature_set="Fresh Flower Delivery",
        cmb_config_name="CMBName",
        raw=DOCUMENTED,
    )
    assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301
    assert hash(event)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("client_number", "Phone number not available", None),
        ("client_number", "NA", None),
        ("client_number", None, None),
        ("client_number", 911234567890, "+911234567890"),
        ("client_number", " +91 12345-67890 ", "+911234567890"),
        ("client_number", "00911234567890", "+911234567890"),
        ("client_number", "123456789012345", "+123456789012345"),
        ("alternate_number", "", None),
        ("requested_at", 1753945760, datetime(2025, 7, 31, 7, 9, 20, tzinfo=UTC)),
        ("requested_at", "1753945760000", datetime(2025, 7, 31, 7, 9, 20, tzinfo=UTC)),
        ("requested_at", "2025-07-31T07:09:20Z", datetime(2025, 7, 31, 7, 9, 20, tzinfo=UTC)),
        ("requested_at", "0", None),
        ("requested_date", "NA", None),
        ("requested_slot", "na", None),
        ("requested_slot", "a\ud800b", "a?b"),
        ("is_interested", None, True),
        ("is_interested", False, False),
        ("is_interested", "no", False),
        ("is_interested", 1, True),
    ],
)
def test_variants_of_a_field(name: str, value: object, expected: object) -> None:
    """What the documents contradict is forgiven."""
    assert getattr(_parse(None, **{name: value}), name) == expected


@pytest.mark.parametrize(
    ("start", "end"), [(None, None), ("NA", "NA"), ("1754116200", None), ("1754118000", "1754116200")]
)
def test_slot_is_a_pair_or_none(start: object, end: object) -> None:
    """A slot without a begin, without an end, or that ends before it begins, is none."""
    assert _parse(None, preferred_from_time=start, preferred_to_time=end).slot is None


def test_types_of_events() -> None:
    """Two types are known by their content or name; whatever else has an ID is unknown, and keeps its body."""
    feedback = _parse({"event_id": 7, "event_type": "some_name", "content": {"answer": [1]}})
    unknown = _parse({"event_id": "a", "event_type": "new", "more": 1})

    assert isinstance(feedback, UserFeedback)
    assert (feedback.event_id, feedback.content) == ("7", {"answer": [1]})
    assert isinstance(_parse({"event_id": "a", "event_type": "USER_FEEDBACK"}), UserFeedback)
    assert isinstance(_parse({"event_id": "a", "cmb_payload": {}}), CallMeBack)
    assert unknown == UnknownEvent(
        event_id="a", event_type="new", raw={"event_id": "a", "event_type": "new", "more": 1}
    )


@pytest.mark.parametrize("name", webhook_variants())
def test_variants_of_the_sandbox(name: str) -> None:
    """Every variant that the sandbox sends has an event."""
    assert isinstance(_parse(webhook_variants()[name]), Event)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "line 1 column 1"),
        (b'{"event_id": "a"', "line 1 column 17"),
        (b"[]", "body"),
        (b"null", "body"),
        (b"\xff\xfe\xff", "byte 2"),
        (b"{}", "event_id"),
        (b'{"event_id": null}', "event_id"),
        (b'{"event_id": " "}', "event_id"),
        (b'{"event_id": {}}', "event_id"),
        (b'{"event_id": "' + b"x" * 1_000_000 + b'"}', "event_id"),
        (b'{"event_id": "a\\u0000"}', "event_id"),
        (b'{"event_id": "a", "event_id": "b"}', "body"),
        (b'{"event_id": "a", "x": {"9876543210": 1, "9876543210": 2}}', "body"),
        (b'{"event_id": "a", "cmb_payload": {"x": "1", "x" : "2"}}', "body"),
        (b'{"event_id": "a", "cmb_payload" :{}, "cmb_payload":{}}', "body"),
        (b'{"event_id": "a", "created_at": NaN}', "body"),
        (b'{"event_id": "a", "created_at": 1e999}', "created_at"),
        (b'{"event_id": "a", "created_at": -5}', "created_at"),
        (b'{"event_id": "a", "created_at": true}', "created_at"),
        (b'{"event_id": "a", "x": ' + b"9" * 5000 + b"}", "body"),
        (b'{"event_id": "a", "x": ' + b"[" * 200_000, "body"),
        (b'{"event_id": "a", "event_type": "cmb"}', "cmb_payload"),
        (b'{"event_id": "a", "cmb_payload": []}', "cmb_payload"),
        (b'{"event_id": "a", "cmb_payload": {"client_number": ["9876543210"]}}', "cmb_payload.client_number"),
        (b'{"event_id": "a", "cmb_payload": {"client_number": "9876"}}', "cmb_payload.client_number"),
        (b'{"event_id": "a", "cmb_payload": {"requested_date": "9876543210"}}', "cmb_payload.requested_date"),
        (b'{"event_id": "a", "cmb_payload": {"preferred_to_time": "98:76"}}', "cmb_payload.preferred_to_time"),
    ],
    ids=str,
)
def test_error_names_the_place(body: bytes, place: str) -> None:
    """A bad body gives one typed error that names the place, and quotes nothing."""
    with pytest.raises(WebhookError) as caught:
        parse(body)

    assert caught.value.place == place
    assert place in str(caught.value)
    assert "9876543210" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_error_keeps_what_has_an_id() -> None:
    """An event that is only partly understood is in its error."""
    with pytest.raises(WebhookError) as caught:
        _parse({"event_id": "a", "event_type": "cmb", "cmb_payload": 7})

    assert caught.value.event == UnknownEvent(event_id="a", event_type="cmb", raw=caught.value.event.raw)


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf", b"\xff\xfe"])
def test_byte_order_marks(body: bytes) -> None:
    """A byte order mark is no error."""
    text = '{"event_id": "a"}'
    encoded = body + text.encode("utf-8" if body.startswith(b"\xef") else "utf-16-le")

    assert parse(encoded).event_id == "a"


def test_text_around_the_json() -> None:
    """White space around the JSON is no error, anything else is one with its place."""
    assert parse(b' \r\n{"event_id": "a"}\n').event_id == "a"
    with pytest.raises(WebhookError) as caught:
        parse(b'{"event_id": "a"} x')

    assert caught.value.place == "line 1 column 19"


def test_values_that_were_read_before() -> None:
    """What is remembered of one type is never used for another that is equal to it."""
    for value, seconds in (("1", 1.0), (1, 1.0), (1.0, 1.0), ("0", None), (0, None), ("1e0", 1.0)):
        created = _parse({"event_id": "a", "created_at": value}).created_at
        assert (created and created.timestamp()) == seconds
    for wrong in (True, "-1", ["1"]):
        for _ in range(2):
            with pytest.raises(WebhookError, match="created_at"):
                _parse({"event_id": "a", "created_at": wrong})


@pytest.mark.parametrize(
    ("content_type", "good"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ("application/vnd.api+json", True),
        ("text/plain", True),
        ("application/json; charset=latin-1", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=x", False),
        ("text/html", False),
        ("", False),
    ],
)
def test_content_types(content_type: str, good: bool) -> None:
    """What cannot be JSON in UTF-8 is refused."""
    if good:
        assert parse(b'{"event_id": "a"}', content_type).event_id == "a"
    else:
        with pytest.raises(WebhookError, match="Content-Type"):
            parse(b'{"event_id": "a"}', content_type)


@pytest.mark.parametrize("name", webhook_variants())
def test_events_are_json_ready(name: str) -> None:
    """`to_dict` gives JSON with the typed fields."""
    event = parse(json.dumps(webhook_variants()[name]))
    fields = json.loads(json.dumps(event.to_dict()))
    assert fields["event_id"] == event.event_id
    assert fields["raw"] == event.raw


def test_numbers_are_masked() -> None:
    """The repr shows the last four digits, and neither the raw body nor the content of feedback."""
    shown = repr(_parse(None, alternate_number="919876543210"))
    feedback = repr(_parse({"event_id": "a", "content": {"phone": "919876543210"}}))

    assert "'+********7890'" in shown
    assert not any(digits in shown + feedback for digits in ("1234567890", "9876543210", "0987654321"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from([*DOCUMENTED["cmb_payload"], "other"]), JSON, max_size=12)


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    """Any bytes give an event or the one typed error."""
    try:
        assert isinstance(parse(body), Event)
    except WebhookError as error:
        assert error.place


BODY = json.dumps(DOCUMENTED)


@given(st.integers(0, len(BODY)), st.integers(0, 6), st.text('{}[]:,"\\ 0-.eEnulNafI\u00e9', max_size=4))
@example(BODY.index(": ") + 1, 0, "nul")
@example(0, len(BODY), '{"a": }')
@example(0, len(BODY), "[1]")
@example(0, len(BODY), " " + BODY)
def test_damaged_body(at: int, gone: int, new: str) -> None:
    """A documented body with a few characters changed gives an event or the one typed error, as with Python's json."""
    body = BODY[:at] + new + BODY[at + gone :]
    try:
        raw = json.loads(body)
    except ValueError:
        with pytest.raises(WebhookError):
            parse(body)
        return
    try:
        assert parse(body.encode()).raw == raw
    except WebhookError as error:
        assert error.place


@given(
    st.dictionaries(st.sampled_from(["event_id", "event_type", "created_at", "content", "client_account_id"]), JSON),
    st.none() | FIELDS | JSON,
    st.integers(0, 5),
)
def test_any_json(fields: dict[str, Any], payload: Any, kind: int) -> None:
    """Any JSON gives an event, whose repr and texts can be encoded, or the one typed error."""
    body = json.dumps({"event_id": "id", **fields, **({"cmb_payload": payload} if kind else {})})
    try:
        event = parse(body.encode("utf-8", "surrogatepass"))
    except WebhookError as error:
        assert error.place
        str(error).encode()
    else:
        repr(event).encode()
        if isinstance(event, CallMeBack):
            assert event.client_number is None or event.client_number.startswith("+")
