"""The sandbox's webhooks: documented bodies, the schedule, and the switches."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from truecaller_vbc.sandbox import Sandbox, WebhookRules, send_webhooks, webhook_event, webhook_variants

SCALE = 200_000.0


class Hook:
    """A receiver that gives the answers of a list, then 200 with JSON, and keeps what came."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.bodies: list[Any] = []
        self.times: list[float] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.times.append(time.monotonic() * SCALE)
        self.bodies.append(await request.json())
        answer = self.answers.pop(0) if self.answers else 200
        if answer == "text":
            return web.Response(text="fine")
        if answer == "slow":
            await asyncio.sleep(0.3)
        return web.json_response({}, status=answer if isinstance(answer, int) else 200)


@asynccontextmanager
async def _serve(hook: Hook) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/", hook.__call__)
    async with TestServer(app) as server:
        yield str(server.make_url("/?key=x"))


def test_events_as_documented() -> None:
    """A call-me-back event has the documented fields, with times as texts; every event has an ID of its own."""
    event = webhook_event("cmb", {"is_interested": False})

    assert list(event) == ["event_id", "client_account_id", "event_type", "created_at", "cmb_payload"]
    assert event["cmb_payload"]["is_interested"] is False
    assert event["created_at"].isdecimal()
    assert len({it["event_id"] for it in webhook_variants().values()}) == len(webhook_variants())


@pytest.mark.slow
async def test_documented_schedule() -> None:
    """A receiver that never answers with 200 gets eight attempts over 78.6 hours of the sandbox's clock."""
    hook = Hook(*[503] * 8)
    async with _serve(hook) as url, Sandbox(clock=lambda: time.monotonic() * SCALE) as sandbox:
        delivery = await sandbox.send_webhook(url)

    waits = [round(later - earlier) for earlier, later in pairwise(hook.times)]
    assert (delivery.state, delivery.statuses) == ("failed", (503,) * 8)
    assert all(wait >= due for wait, due in zip(waits, WebhookRules().retries, strict=True))
    assert len({body["event_id"] for body in hook.bodies}) == 1


async def test_what_counts_as_delivered() -> None:
    """Only 200 with JSON in time is delivered; anything else is sent again."""
    hook = Hook("text", 204, 500, "slow")
    async with _serve(hook) as url, Sandbox() as sandbox:
        delivery = await sandbox.send_webhook(
            url, "user_feedback", WebhookRules(retries=(0.0,) * 5, timeout=0.2, duplicates=1)
        )

    assert delivery.statuses == (None, 204, 500, None, 200, 200)
    assert delivery.state == "delivered"
    assert hook.bodies[0]["event_type"] == "user_feedback"


async def test_switches() -> None:
    """Events come in another order, and as bytes."""
    hook = Hook()
    events = [json.dumps(webhook_event() | {"number": number}).encode() for number in range(50)]
    async with _serve(hook) as url:
        await send_webhooks(url, events, WebhookRules(reorder=True, concurrency=4))

    numbers = [body["number"] for body in hook.bodies]
    assert sorted(numbers) == list(range(50))
    assert numbers != list(range(50))


async def test_sandbox_must_be_open() -> None:
    """A sandbox that is not open sends nothing."""
    with pytest.raises(RuntimeError, match="not open"):
        await Sandbox().send_webhook("http://127.0.0.1:9")


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"duplicates": -1}, {"reorder": 1}, {"slow": -1}])
def test_invalid_rules(wrong: dict[str, Any]) -> None:
    """A value out of range is named."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WebhookRules(**wrong)
