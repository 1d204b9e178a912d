"""Send webhooks as the documents describe them (API reference, "Webhooks"), and in ways that they leave open."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Literal

import aiohttp
import attrs

from .rules import seconds, switch, whole


@attrs.frozen(kw_only=True)
class WebhookRules:
    """Set how webhooks are sent. The defaults are the documented rules; retries pass on the sandbox's clock.

    Args:
        retries: seconds from one attempt to the next (API reference, "Your answer, timeouts, retries, duplicates").
        timeout: for the whole call, on the event loop's clock; the documents can be read as 2 or as 20 seconds.
        duplicates: how often each event is sent again after it was delivered.
        reorder: whether several events are sent in random order.
        concurrency: how many events are sent at once.
        slow: seconds over which the body is sent.
        disconnect: how many attempts, counted from the first, are broken off in the middle of the body.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.
    """

    retries: tuple[float, ...] = (120.0, 360.0, 1800.0, 3600.0, 18_000.0, 86_400.0, 172_800.0)
    timeout: float = attrs.field(default=2.0, validator=seconds(positive=True))
    duplicates: int = attrs.field(default=0, validator=whole(0))
    reorder: bool = attrs.field(default=False, validator=switch)
    concurrency: int = attrs.field(default=1, validator=whole(1))
    slow: float = attrs.field(default=0.0, validator=seconds())
    disconnect: int = attrs.field(default=0, validator=whole(0))


@attrs.frozen
class WebhookDelivery:
    """What became of one event.

    Attributes:
        event_id: of the event.
        state: ``"delivered"`` after a 200 with JSON, else ``"failed"``.
        statuses: the status of each answer, duplicates included; None where there was none.
    """

    event_id: str
    state: Literal["delivered", "failed"]
    statuses: tuple[int | None, ...]


# As the documents show it.
_CALL_ME_BACK = (
    '{"business_number": "910987654321", "feature_set": "Fresh Flower Delivery", "client_number": "911234567890",'
    ' "requested_at": "1753945760", "requested_date": "2025-08-02", "requested_slot": "Saturday",'
    ' "preferred_from_time": "1754116200", "preferred_to_time": "1754118000",'
    ' "is_interested": true, "alternate_number": "", "cmb_config_name": "CMBName"}'
)
# Its fields are not documented.
_FEEDBACK = '{"survey": "Delivery", "answers": ["Good"]}'


def webhook_event(kind: str = "cmb", payload: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a new event: ``"cmb"``, ``"user_feedback"``, or any other type; `payload` replaces fields of it."""
    content: dict[str, Any] = json.loads(_CALL_ME_BACK if kind == "cmb" else _FEEDBACK)
    return {
        "event_id": str(uuid.uuid4()),
        "client_account_id": "91c173bb-28d8-4030-9722-8663ff9589f3",
        "event_type": kind,
        "created_at": str(int(time.time())),
        "cmb_payload" if kind == "cmb" else "content": {**content, **(payload or {})},
    }


def webhook_variants() -> dict[str, dict[str, Any]]:
    """Return a new event for each documented variant, and for each that the documents leave open, by its name."""
    changes: dict[str, dict[str, Any]] = {
        "slot picker": {},
        "number not available": {"client_number": "Phone number not available"},
        "no slot picker": {"requested_slot": "NA", "requested_date": "NA", "preferred_from_time": None},
        "not interested": {"is_interested": False},
        "numbers instead of texts": {"client_number": 911234567890, "requested_at": 1753945760},
        "numbers with plus": {"client_number": "+911234567890", "alternate_number": "+91 98765-43210"},
        "null everywhere": dict.fromkeys(json.loads(_CALL_ME_BACK)),
        "unknown fields": {"new_field": [{}]},
    }
    return {name: webhook_event("cmb", payload) for name, payload in changes.items()} | {
        "fields missing": {"event_id": str(uuid.uuid4()), "event_type": "cmb", "cmb_payload": {}},
        "user feedback": webhook_event("user_feedback"),
        "unknown type": {"event_id": str(uuid.uuid4()), "event_type": "something_new"},
    }


async def send_webhooks(
    url: str,
    events: Iterable[dict[str, Any] | bytes],
    rules: WebhookRules | None = None,
    tick: Callable[[], float] = time.monotonic,
) -> list[WebhookDelivery]:
    """Send events until each is delivered or has failed for good, and return what became of them, as they were sent."""
    rules = rules or WebhookRules()
    ordered = list(events)
    if rules.reorder:
        random.shuffle(ordered)
    room = asyncio.Semaphore(rules.concurrency)

    async def deliver(event: dict[str, Any] | bytes) -> WebhookDelivery:
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        event_id = str(event.get("event_id", "")) if isinstance(event, dict) else ""
        statuses: list[int | None] = []
        async with room:
            for attempt, pause in enumerate((0.0, *rules.retries)):
                due = tick() + pause
                while tick() < due:  # noqa: ASYNC110 - the clock of the sandbox may run at any speed
                    await asyncio.sleep(0.01)
                statuses.append(await _post(http, url, body, rules, cut=attempt < rules.disconnect))
                if statuses[-1] == HTTPStatus.OK:
                    statuses += [await _post(http, url, body, rules, cut=False) for _ in range(rules.duplicates)]
                    return WebhookDelivery(event_id, "delivered", tuple(statuses))
        return WebhookDelivery(event_id, "failed", tuple(statuses))

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        return await asyncio.gather(*map(deliver, ordered))


async def _post(http: aiohttp.ClientSession, url: str, body: bytes, rules: WebhookRules, *, cut: bool) -> int | None:
    """Return the status of an answer with JSON, or None."""
    headers = {"Content-Type": "application/json"}
    data = _pieces(body, rules.slow, cut=cut) if rules.slow or cut else body
    try:
        async with http.post(
            url, data=data, headers=headers, timeout=aiohttp.ClientTimeout(rules.timeout), allow_redirects=False
        ) as answer:
            await answer.json()
            return answer.status
    except (aiohttp.ClientError, TimeoutError, ValueError, ConnectionError):
        return None


async def _pieces(body: bytes, slow: float, *, cut: bool) -> AsyncGenerator[bytes]:
    for start in range(0, len(body), 64):
        if cut and start:
            raise ConnectionError("broken off on purpose")
        yield body[start : start + 64]
        await asyncio.sleep(slow * 64 / len(body))
