"""Every endpoint: what faults call it, method, path, handler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from .account import Account
from .api_rules import ApiRules
from .batch_status import BatchStatusEndpoint
from .batches import BatchEndpoint
from .calls import CallEndpoint
from .clock import SandboxClock
from .door import Door
from .echo import echo, unknown
from .faults import Endpoint
from .feature_sets import FeatureSetEndpoint
from .gate import Handler
from .labels import LabelEndpoint
from .number_endpoints import NumberEndpoints
from .pace import Pace
from .record_rules import EITHER, NO_PLUS, WITH_PLUS, RecordRules
from .token_endpoint import TokenEndpoint

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
