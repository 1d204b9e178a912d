"""Check that no repr, error, event, log line or captured local variable shows a receiver's number."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from truecaller_vbc import (
    APIPolicy,
    BatchStatus,
    BusinessNumber,
    CallRecord,
    Chunk,
    FailedChunk,
    InvalidRecordError,
    NumbersResult,
    Problem,
    RecordStatus,
    VBCError,
    VBCSession,
)
from truecaller_vbc.secret import SecretBytes, mask_number, mask_numbers_in

from ..api.sandbox_session import FEATURE_SET, fields, sandbox_session
from .frames import DIGITS, NUMBER, shows_no_number

API_POLICY: Final = APIPolicy(
    realtime_rate=None, batch_rate=None, timeout=timedelta(seconds=0.2), attempts=2, patience=timedelta(seconds=5)
).scaled(0.01)


def _record(**changes: Any) -> CallRecord:
    return CallRecord(**fields(receiver_number=NUMBER, **changes))


def test_reprs_show_the_last_four_digits() -> None:
    """Records, results and problems show four digits in their reprs; their attributes have the number."""
    record = _record()
    chunk = Chunk(0, 1, (record,), (0,), (Problem("", "late", 0, NUMBER),))
    shown = [
        record,
        RecordStatus(caller_number=NUMBER, receiver_number=NUMBER),
        BatchStatus(data=(RecordStatus(receiver_number=NUMBER),)),
        BusinessNumber(NUMBER),
        NumbersResult(accepted=frozenset({NUMBER}), unmentioned=frozenset({NUMBER, "+919876543211"})),
        Problem("receiver_number", "odd", 1, NUMBER),
        chunk,
        FailedChunk(chunk, InvalidRecordError(chunk.invalid)),
        InvalidRecordError(chunk.invalid),
    ]
    for thing in shown:
        assert DIGITS not in repr(thing) + str(thing), type(thing)
    assert "receiver_number='+********3210'" in repr(record)
    assert str(chunk.invalid[0]) == "record 0 (to +********3210): late"
    assert (record.receiver_number, chunk.invalid[0].receiver) == (NUMBER, NUMBER)
    assert record.to_dict()["receiver_number"] == NUMBER


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (NUMBER, "+********3210"),
        ("0987 654-3210", "**** ***-3210"),
        ("1234", "1234"),
        ("", ""),
        ("+91\xa098765\u200b43210", "+**\xa0*****\u200b*3210"),
    ],
)
def test_mask_of_a_number(text: str, masked: str) -> None:
    """The mask keeps the shape of what was written, so that its fault can still be seen."""
    assert mask_number(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "starts_at 1790000000000 is late",
        "batch 0ca10281-11a0-4f86-bb27-745287654321",
        "v 10.12345678",
    ],
)
def test_text_without_numbers_is_kept(text: str) -> None:
    """Times in milliseconds, IDs and versions in the server's words are not taken for phone numbers."""
    assert mask_numbers_in(text) == text


def test_hidden_bytes() -> None:
    """A hidden body shows a mask in every way to print it, and is sent as it is."""
    body = SecretBytes(NUMBER.encode())

    assert (repr(body), f"{body}", str([body])) == ("b'***'", "b'***'", "[b'***']")
    assert body == NUMBER.encode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"receiver_number": "9876543210"},
        {"receiver_number": "+91\xa098765\xa043210"},
        {"receiver_number": 919876543210},
        {"caller_number": "09876543210"},
        {"starts_at": NUMBER},
        {"starts_at": NUMBER[1:]},
        {"ends_at": 1},
        {NUMBER: "a header that is missing"},
    ],
)
@pytest.mark.parametrize("build", [CallRecord.from_mapping, lambda row: CallRecord(**row)])
def test_refused_records(build: Any, wrong: dict[str, Any]) -> None:
    """A record that is refused shows no number, neither in its message nor in the frames of the library."""
    row = {**fields(receiver_number=NUMBER), **wrong}
    try:
        build(row)
    except (InvalidRecordError, TypeError) as error:
        if isinstance(error, InvalidRecordError):
            shows_no_number(error)


ANSWERS: Final[dict[str, dict[str, Any]]] = {
    **{str(status): {"status": status} for status in (400, 401, 403, 404, 429, 500, 503)},
    "quoted": {"status": 400, "body": {"slug": "invalid-input", "message": f"no user {NUMBER}", "field": NUMBER[1:]}},
    "in a success": {"body": {"status_info": {"status": "error", "message": f"odd {NUMBER[1:]}"}}},
    "not documented": {"body": {"odd": NUMBER}},
    "HTML": {"status": 502, "body": f"<p>POST {NUMBER}</p>", "content_type": "text/html"},
    "no JSON": {"body": f"ok {NUMBER}"},
    "lost before": {"drop": "before"},
    "lost in the middle": {"drop": "mid"},
    "lost after": {"drop": "after"},
    "hangs": {"delay": float("inf")},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
async def test_failed_calls(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A typed call that fails shows no number to a program that captures the frames, nor in the log."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with sandbox_session(API_POLICY) as (sandbox, vbc):
        await vbc.token()
        sandbox.set_outage("api", **ANSWERS[name])
        raised = 0
        for call in _calls(vbc):
            try:
                await call
            except VBCError as error:
                raised += 1
                shows_no_number(error)
        assert raised >= 3
    assert DIGITS not in caplog.text


def _calls(vbc: VBCSession) -> Iterator[Any]:
    async def push_all() -> None:
        async for result in vbc.calls.push_all([fields(receiver_number=NUMBER), _record()]):
            assert DIGITS not in repr(result)
            if result.error is not None:
                shows_no_number(result.error)

    yield vbc.calls.push(_record())
    yield vbc.calls.push_batch([_record()])
    yield push_all()
    yield vbc.calls.batch_status("a-batch")
    yield vbc.numbers.publish(FEATURE_SET, ["+911140001234"])  # a number of the business itself


async def test_late_record_and_closed_session() -> None:
    """Errors from before anything is sent show no number either."""
    async with sandbox_session() as (_, vbc):
        pass
    past = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1000)
    for record in (_record(), _record(starts_at=past, ends_at=past + 1000)):
        for call in (vbc.calls.push(record), vbc.calls.push_batch([record])):
            with pytest.raises(VBCError) as caught:
                await call
            shows_no_number(caught.value)


@pytest.mark.slow
async def test_sentry_itself() -> None:
    """What Sentry's SDK sends of a failed call has no receiver's number in the library's frames."""
    sdk = pytest.importorskip("sentry_sdk")
    async with sandbox_session(API_POLICY) as (sandbox, vbc):
        sandbox.set_outage("api", status=500)
        with pytest.raises(VBCError) as caught:
            await vbc.calls.push(_record())
    event, _ = sdk.utils.event_from_exception(caught.value)
    every = [frame for item in event["exception"]["values"] for frame in item["stacktrace"]["frames"]]
    frames = [frame for frame in every if frame["abs_path"] != __file__]
    shown = sdk.serializer.serialize([frame["vars"] for frame in frames], is_vars=True, max_value_length=None)
    assert len(frames) > 3
    assert DIGITS not in str(shown)
