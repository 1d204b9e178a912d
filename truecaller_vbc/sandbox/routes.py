"""Route each documented path to its endpoint."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from aiohttp import web

from .calls import BatchEndpoint, BatchStatusEndpoint, BatchStore, CallEndpoint, Outcomes
from .clock import SandboxClock
from .faults import Endpoint
from .labels import LabelEndpoint, LabelStore
from .middlewares import AuthMiddleware, Handler, RequestRate
from .numbers import FeatureSetEndpoint, FeatureSetStore, NumberEndpoints, NumberStore
from .records import EITHER, NO_PLUS, WITH_PLUS, RecordRules
from .responses import json_answer, refusal
from .rules import ApiRules
from .tokens import TokenRoute


class Account:
    """Hold the state that the endpoints share."""

    def __init__(self, rules: ApiRules, account_id: str) -> None:
        self.labels: LabelStore = LabelStore()
        self.feature_sets: FeatureSetStore = FeatureSetStore(account_id)
        self.numbers: NumberStore = NumberStore(rules)
        self.batches: BatchStore = BatchStore(rules.keep_batches)
        self.outcomes: Outcomes = Outcomes()
        self.accepted: Counter[int] = Counter()


async def echo(request: web.Request) -> web.Response:
    """Answer with the method, headers and query that were sent, and the body's length and SHA-256."""
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
    """Answer any path or method without an endpoint, such as the deprecated v1 ones."""
    return refusal(404, f"no endpoint for {request.method} {request.path}")


Route: TypeAlias = tuple[Endpoint, str, str, Handler]

_CLIENT = "/clients/{account}"
_SECOND = 1.0
_MINUTE = 60.0


def routes(
    token: TokenRoute, auth: AuthMiddleware, rules: ApiRules, account: Account, clock: SandboxClock
) -> Iterator[Route]:
    """Return all routes, the catch-all last."""
    yield "token", "POST", f"{_CLIENT}/token", token.create
    yield from _personalisation(auth, rules, account, clock)
    yield from _management(auth, rules, account, clock)
    for method in ("POST", "PUT", "PATCH", "GET", "DELETE"):
        yield "api", method, f"{_CLIENT}/echo", auth.wrap(echo)
    yield "api", "*", "/{path:.*}", unknown


def _personalisation(auth: AuthMiddleware, rules: ApiRules, account: Account, clock: SandboxClock) -> Iterator[Route]:
    record_rules = RecordRules(NO_PLUS, account.labels.dynamic)
    calls = CallEndpoint(rules, record_rules, account.outcomes, account.accepted, clock)
    rate = RequestRate(rules.realtime_per_second, _SECOND)
    yield "calls", "POST", f"/v2{_CLIENT}/dynamic_call_record", auth.wrap(calls.post, rate)

    rate = RequestRate(rules.batch_per_minute, _MINUTE)
    status = BatchStatusEndpoint(rules, account.batches, account.labels, account.outcomes, clock)
    for version, numbers in (("v2", EITHER), ("v3", WITH_PLUS)):
        record_rules = RecordRules(numbers, account.labels.dynamic)
        batch = BatchEndpoint(rules, record_rules, account.batches, account.accepted, clock)
        path = f"/{version}{_CLIENT}/dynamic_call_records"
        yield "batch", "POST", path, auth.wrap(batch.post, rate)
        yield "status", "GET", path, auth.wrap(status.get)

    labels = LabelEndpoint(rules, account.labels)
    yield "labels", "GET", f"{_CLIENT}/labels", auth.wrap(labels.get)


def _management(auth: AuthMiddleware, rules: ApiRules, account: Account, clock: SandboxClock) -> Iterator[Route]:
    under = f"{_CLIENT}/number_management"
    sets = FeatureSetEndpoint(rules, account.feature_sets)
    numbers = NumberEndpoints(rules, account.numbers, account.feature_sets, account.labels, clock)
    yield "feature_sets", "GET", f"{under}/feature_sets", auth.wrap(sets.get)
    one = f"{under}/feature_sets/{{feature_set}}/numbers"
    yield "publish", "POST", f"{one}/publish", auth.wrap(numbers.publish)
    yield "delist", "POST", f"{one}/delist", auth.wrap(numbers.delist)
    yield "numbers", "GET", f"{under}/numbers", auth.wrap(numbers.get)
