"""Route each documented path to its endpoint."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from aiohttp import web

from .calls import BatchBook, BatchEndpoint, BatchStatusEndpoint, CallEndpoint, Outcomes
from .clock import SandboxClock
from .faults import Endpoint
from .labels import LabelBook, LabelEndpoint
from .middlewares import Door, Handler, Pace
from .numbers import FeatureSetBook, FeatureSetEndpoint, NumberBook, NumberEndpoints
from .records import EITHER, NO_PLUS, WITH_PLUS, RecordRules
from .responses import json_answer, refusal
from .rules import ApiRules
from .tokens import TokenEndpoint


class Account:
    """The state that the endpoints share."""

    def __init__(self, rules: ApiRules, account_id: str) -> None:
        self.labels = LabelBook()
        self.feature_sets = FeatureSetBook(account_id)
        self.numbers = NumberBook(rules)
        self.batches = BatchBook(rules.keep_batches)
        self.outcomes = Outcomes()
        self.accepted: Counter[int] = Counter()


async def echo(request: web.Request) -> web.Response:
    """What was sent: method, headers, query, and the body's length and SHA-256."""
    body = await request.read()
    headers = {name: "***" if name.lower() == "authorization" else value for name, value in request.headers.items()}
    return json_answer(
        {
            "method": request.method,
            "headers": headers,
            "query": dict(request.query),
            "content_type": request.headers.get("Content-Type"),
            "body_length": len(body),
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
    )


async def unknown(request: web.Request) -> web.Response:
    """Any path or method that no other endpoint takes; the deprecated v1 endpoints are among them."""
    return refusal(404, f"no endpoint for {request.method} {request.path}")


Route: TypeAlias = tuple[Endpoint, str, str, Handler]

_CLIENT = "/clients/{account}"
_SECOND = 1.0
_MINUTE = 60.0


def routes(token: TokenEndpoint, door: Door, rules: ApiRules, account: Account, clock: SandboxClock) -> Iterator[Route]:
    """All of them, the one for everything else last."""
    yield "token", "POST", f"{_CLIENT}/token", token.create
    yield from _personalisation(door, rules, account, clock)
    yield from _management(door, rules, account, clock)
    for method in ("POST", "PUT", "PATCH", "GET", "DELETE"):
        yield "api", method, f"{_CLIENT}/echo", door.before(echo)
    yield "api", "*", "/{path:.*}", unknown


def _personalisation(door: Door, rules: ApiRules, account: Account, clock: SandboxClock) -> Iterator[Route]:
    record_rules = RecordRules(NO_PLUS, account.labels.dynamic)
    calls = CallEndpoint(rules, record_rules, account.outcomes, account.accepted, clock)
    pace = Pace(rules.realtime_per_second, _SECOND)
    yield "calls", "POST", f"/v2{_CLIENT}/dynamic_call_record", door.before(calls.post, pace)

    pace = Pace(rules.batch_per_minute, _MINUTE)
    status = BatchStatusEndpoint(rules, account.batches, account.labels, account.outcomes, clock)
    for version, numbers in (("v2", EITHER), ("v3", WITH_PLUS)):
        record_rules = RecordRules(numbers, account.labels.dynamic)
        batch = BatchEndpoint(rules, record_rules, account.batches, account.accepted, clock)
        path = f"/{version}{_CLIENT}/dynamic_call_records"
        yield "batch", "POST", path, door.before(batch.post, pace)
        yield "status", "GET", path, door.before(status.get)

    labels = LabelEndpoint(rules, account.labels)
    yield "labels", "GET", f"{_CLIENT}/labels", door.before(labels.get)


def _management(door: Door, rules: ApiRules, account: Account, clock: SandboxClock) -> Iterator[Route]:
    under = f"{_CLIENT}/number_management"
    sets = FeatureSetEndpoint(rules, account.feature_sets)
    numbers = NumberEndpoints(rules, account.numbers, account.feature_sets, account.labels, clock)
    yield "feature_sets", "GET", f"{under}/feature_sets", door.before(sets.get)
    one = f"{under}/feature_sets/{{feature_set}}/numbers"
    yield "publish", "POST", f"{one}/publish", door.before(numbers.publish)
    yield "delist", "POST", f"{one}/delist", door.before(numbers.delist)
    yield "numbers", "GET", f"{under}/numbers", door.before(numbers.get)
