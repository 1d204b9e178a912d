"""Check that the frames of webhooks and telemetry show no receiver's number."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from truecaller_vbc import CallRecord, StoreError, UnknownOutcomeError, WebhookError
from truecaller_vbc.sandbox import webhook_event
from truecaller_vbc.webhooks import Event, Receiver, SQLiteClaims, parse

from ..api.sandbox_session import fields, sandbox_session
from .frames import DIGITS, NUMBER, captured_below, shows_no_number


def _logged(caplog: pytest.LogCaptureFixture) -> list[BaseException]:
    """Return the errors whose tracebacks were logged."""
    return [record.exc_info[1] for record in caplog.records if record.exc_info and record.exc_info[1]]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(webhook_event(payload={"client_number": NUMBER, "business_number": "1"})),
        json.dumps({"cmb_payload": {"client_number": NUMBER}}),
        f'{{"event_id": "1", "cmb_payload": "{NUMBER}"}}',
        f'["{NUMBER}"',
        f'["{NUMBER}", NaN]',
        f'{{"{NUMBER}": 1, "{NUMBER}": 2}}',
        f'["{NUMBER}"]',
        "[" * 100_000 + NUMBER,
        b"\xff" + NUMBER.encode(),
    ],
)
def test_webhook_that_cannot_be_parsed(body: str | bytes) -> None:
    """An error of `parse` has no frame with the body, nor has its event a number to show."""
    with pytest.raises(WebhookError) as caught:
        parse(body)
    shows_no_number(caught.value)
    assert DIGITS not in repr(caught.value.event)


class _BrokenClaims(SQLiteClaims):
    """Claims whose method of this name fails."""

    def __init__(self, path: Path, broken: str) -> None:
        super().__init__(path)
        setattr(self, broken, self._fail)

    async def _fail(self, *_: object) -> None:
        raise StoreError("broken")


async def _send(receiver: Receiver, event: dict[str, Any]) -> int:
    async def body() -> Any:
        yield json.dumps(event).encode()

    return (await receiver.receive("POST", "", {}, body())).status


@pytest.mark.parametrize(
    ("mode", "broken"),
    [
        ("run", "handler"),
        ("run", "claim"),
        ("run", "settle"),
        ("run", "release"),
        ("store_then_run", "handler"),
        ("store_then_run", "claim"),
        ("store_then_run", "take"),
    ],
)
async def test_webhook_that_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: Any, broken: str) -> None:
    """A handler or a store that fails is logged with a traceback whose frames show no number."""

    async def handler(_: Event) -> None:
        if broken != "settle":
            raise RuntimeError("fails")

    claims = _BrokenClaims(tmp_path / "claims.db", broken)
    async with Receiver(handler, key=None, seen=claims, mode=mode) as receiver:
        await _send(receiver, webhook_event(payload={"client_number": NUMBER}))
        while not (errors := _logged(caplog)):
            await asyncio.sleep(0.001)
    for error in errors:
        shows_no_number(error)
    assert DIGITS not in caplog.text


async def test_receiver_shows_no_number_to_a_handler(tmp_path: Path) -> None:
    """The frames under a handler, which an error tracker may add to any log line, show no number."""
    shown: list[str] = []

    async def handler(_: Event) -> None:
        shown.extend(captured_below(sys._getframe()))

    for mode in ("run", "store_then_run"):
        async with Receiver(handler, key=None, seen=SQLiteClaims(tmp_path / mode), mode=mode) as receiver:
            await _send(receiver, webhook_event(payload={"client_number": NUMBER}))
            while not shown:
                await asyncio.sleep(0.001)
        assert [text for text in shown if DIGITS in text] == []
        shown.clear()


async def test_telemetry_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """An exporter that raises is logged, and the frames of the reporter show no number."""
    telemetry = pytest.importorskip("truecaller_vbc.telemetry")
    trace = pytest.importorskip("opentelemetry.sdk.trace")

    class Broken(trace.SpanProcessor):  # type: ignore[misc, name-defined]
        def on_end(self, span: object) -> None:
            raise RuntimeError("fails")

    tracers = trace.TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(Broken())
    async with sandbox_session() as (sandbox, vbc):
        with telemetry.instrument(vbc, tracer_provider=tracers):
            await vbc.calls.push(CallRecord(**fields(receiver_number=NUMBER)))
            sandbox.fail_next("batch", drop="after")
            with pytest.raises(UnknownOutcomeError):
                await vbc.calls.push_batch([CallRecord(**fields(receiver_number=NUMBER))])
    errors = _logged(caplog)
    assert len(errors) == 3
    for error in errors:
        shows_no_number(error)
    assert DIGITS not in caplog.text
