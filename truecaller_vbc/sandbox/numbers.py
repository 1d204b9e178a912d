"""Keep feature sets and numbers, and answer the number management endpoints."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs
from aiohttp import web

from .clock import SandboxClock, iso
from .labels import FLOWER_SHOP, LabelStore
from .records import NO_PLUS
from .responses import (
    InvalidBodyError,
    RefusedError,
    drop_optional_fields,
    is_array,
    json_answer,
    json_object,
    requested_page,
)
from .rules import ApiRules

PRIO1: Final = "069d2e3a-41e6-41f9-a768-157d7e3bd6b9"
"""The feature set that always exists."""

_NEEDED: Final = ("id", "name", "status")
_FILTERS: Final = ("department_id", "operation_id", "process_id")


class FeatureSetStore:
    """Keep the feature sets of the account; it starts with one."""

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id
        self._sets: dict[str, dict[str, Any]] = {}
        self.add("prio1", PRIO1, "2025-07-09T08:07:06.05Z")

    def add(self, name: str, feature_set_id: str, created_at: str) -> None:
        """Add a feature set with a department, operation and process of its own."""

        def own(what: str) -> str:
            return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{feature_set_id} {what}"))

        self._sets[feature_set_id] = {
            "id": feature_set_id,
            "name": name,
            "description": "",
            "status": "draft",
            "process_id": own("process"),
            "client_account_id": self._account_id,
            "label_id": FLOWER_SHOP,
            "call_reason_id": own("reason"),
            "video_caller_id": None,
            "business_profile_id": None,
            "call_me_back": False,
            "survey": False,
            "department_id": own("department"),
            "department_name": "Sales",
            "operation_id": own("operation"),
            "calling_operation_id": own("operation"),
            "calling_operation_name": "Delivery",
            "process_name": "Flowers",
            "sub_process_name": "",
            "created_at": created_at,
            "updated_at": created_at,
        }

    def __contains__(self, feature_set_id: str) -> bool:
        return feature_set_id in self._sets

    def __getitem__(self, feature_set_id: str) -> dict[str, Any]:
        return self._sets[feature_set_id]

    def matching(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return the feature sets that match the query's filters, oldest first."""
        wanted = [(name, query[name]) for name in _FILTERS if name in query]
        return [one for one in self._sets.values() if all(one[name] == value for name, value in wanted)]


class FeatureSetEndpoint:
    """List the feature sets."""

    def __init__(self, rules: ApiRules, store: FeatureSetStore) -> None:
        self._rules = rules
        self._store = store

    async def get(self, request: web.Request) -> web.Response:
        """Return one page of feature sets. The documents show no page count here."""
        found = requested_page(request.query, self._rules).of(self._store.matching(request.query))
        if self._rules.sparse:
            return json_answer({"feature_sets": [drop_optional_fields(one, _NEEDED) for one in found] or None})
        return json_answer({"feature_sets": found})


Buckets: TypeAlias = dict[str, list[str]]


@attrs.define
class KnownNumber:
    """Hold a published number and the times at which it is listed."""

    digits: str
    feature_set_id: str
    published_at: float
    listed_at: float
    gone_at: float = math.inf

    def is_listed(self, now: float) -> bool:
        """Tell whether it is listed at `now`, which includes the time while it is being delisted."""
        return self.listed_at <= now < self.gone_at


class NumberStore:
    """Keep the numbers of the account."""

    def __init__(self, rules: ApiRules) -> None:
        self._rules = rules
        self._numbers: dict[str, KnownNumber] = {}

    def publish(self, feature_set_id: str, numbers: Iterable[str], now: float) -> Buckets:
        """Start listing the new numbers, and return the answer's buckets."""
        buckets: Buckets = {}
        for number in dict.fromkeys(numbers):
            buckets.setdefault(self._publish(feature_set_id, number, now), []).append(number)
        return buckets

    def delist(self, feature_set_id: str, numbers: Iterable[str], now: float) -> Buckets:
        """Start delisting the numbers that the set has, and return the answer's buckets."""
        buckets: Buckets = {}
        for number in dict.fromkeys(numbers):
            buckets.setdefault(self._delist(feature_set_id, number, now), []).append(number)
        return buckets

    def listed(self, now: float) -> Iterator[KnownNumber]:
        """Return the numbers listed at `now`, in the order of publication."""
        return (known for known in self._numbers.values() if known.is_listed(now))

    def _publish(self, feature_set_id: str, number: str, now: float) -> str:
        if not NO_PLUS.fullmatch(number):
            return "invalid_numbers"
        known = self._known(number, now)
        if known is None:
            self._numbers[number] = KnownNumber(number, feature_set_id, now, now + self._rules.listing_seconds)
        elif known.gone_at < math.inf:
            pass  # Documented: publishing a number that is being delisted is ignored, and the answer does not show it.
        else:
            return "existing_numbers" if known.feature_set_id == feature_set_id else "other_feature_set_numbers"
        return "new_numbers"

    def _delist(self, feature_set_id: str, number: str, now: float) -> str:
        if not NO_PLUS.fullmatch(number):
            return "invalid_numbers"
        known = self._known(number, now)
        if known is None:
            return "new_numbers"
        if known.feature_set_id != feature_set_id:
            return "other_feature_set_numbers"
        if known.gone_at < math.inf or not known.is_listed(now):
            return "processing_numbers"
        known.gone_at = now + self._rules.delisting_seconds
        return "existing_numbers"

    def _known(self, number: str, now: float) -> KnownNumber | None:
        known = self._numbers.get(number)
        if known is not None and known.gone_at <= now:
            del self._numbers[number]
            return None
        return known


MOST_NUMBERS: Final = 10_000
_EMAIL: Final = "someone@example.com"
_BOTH: Final = (
    "new_numbers",
    "other_phonetype_numbers",
    "existing_numbers",
    "others_numbers",
    "invalid_numbers",
    "other_feature_set_numbers",
)
_PUBLISH: Final = (*_BOTH, "migrated_numbers", "delisted_numbers", "updated_numbers")
_DELIST: Final = ("processing_numbers", *_BOTH)
_FIELDS_NEEDED: Final = ("phone_number", "status", "feature_set_name")


class NumberEndpoints:
    """Answer the three endpoints."""

    def __init__(
        self,
        rules: ApiRules,
        store: NumberStore,
        feature_sets: FeatureSetStore,
        labels: LabelStore,
        clock: SandboxClock,
    ) -> None:
        self._rules = rules
        self._store = store
        self._feature_sets = feature_sets
        self._labels = labels
        self._clock = clock

    async def publish(self, request: web.Request) -> web.Response:
        """Start listing the new numbers, and return the buckets."""
        feature_set_id, numbers = await self._asked(request)
        buckets = self._store.publish(feature_set_id, numbers, self._clock.elapsed())
        head = {
            "client_account_id": request.match_info["account"],
            "created_by_email": _EMAIL,
            "phone_type": "verified",
        }
        return self._result(head, _PUBLISH, buckets, good=("new_numbers", "existing_numbers"))

    async def delist(self, request: web.Request) -> web.Response:
        """Start delisting the numbers that the set has, and return the buckets."""
        feature_set_id, numbers = await self._asked(request)
        buckets = self._store.delist(feature_set_id, numbers, self._clock.elapsed())
        head = {"client_account_id": request.match_info["account"], "phone_type": ""}
        return self._result(head, _DELIST, buckets, good=("existing_numbers", "processing_numbers"))

    async def get(self, request: web.Request) -> web.Response:
        """Return one page of the listed numbers."""
        page = requested_page(request.query, self._rules)
        found = self._matching(request)
        endless = self._rules.total_page_count == "endless"
        shown = (page.or_last(found) if endless else page).of(found)
        numbers = [self._shown(known, request.match_info["account"]) for known in shown]
        body: dict[str, Any] = {"numbers": numbers or (None if self._rules.sparse else [])}
        if self._rules.total_page_count != "missing":
            count = page.place + 2 if endless else page.count(found)
            body["pagination_information"] = {"total_page_count": count}
        return json_answer(body)

    async def _asked(self, request: web.Request) -> tuple[str, list[str]]:
        feature_set_id = request.match_info["feature_set"]
        if feature_set_id not in self._feature_sets:
            raise RefusedError("feature_set_id", "feature set not found", status=404)
        body = json_object(await request.read())
        if body is None:
            raise InvalidBodyError("", "the body must be a JSON object")
        if body.get("phone_numbers") is None:
            raise InvalidBodyError("phone_numbers", "phone_numbers is required")
        numbers = body["phone_numbers"]
        if not is_array(numbers) or not all(isinstance(number, str) for number in numbers):
            raise InvalidBodyError("phone_numbers", "phone_numbers must be an array of strings")
        if not 1 <= len(numbers) <= MOST_NUMBERS:
            raise InvalidBodyError("phone_numbers", f"phone_numbers must have 1 to {MOST_NUMBERS} entries")
        return feature_set_id, numbers

    def _result(
        self, head: dict[str, str], names: tuple[str, ...], buckets: Buckets, *, good: tuple[str, ...]
    ) -> web.Response:
        failed = not any(name in buckets for name in good)
        arrays: dict[str, list[str]] = {name: buckets.get(name, []) for name in names}
        body = head | arrays | {"status": "failed" if failed else self._rules.pending}
        if self._rules.sparse:
            body = drop_optional_fields(body, ("status", *buckets))
        return json_answer(body, self._rules.failed_status if failed else 200)

    def _matching(self, request: web.Request) -> list[KnownNumber]:
        sets = {one["id"] for one in self._feature_sets.matching(request.query)}
        if "feature_set_id" in request.query:
            sets &= {request.query["feature_set_id"]}
        return [known for known in self._store.listed(self._clock.elapsed()) if known.feature_set_id in sets]

    def _shown(self, known: KnownNumber, account_id: str) -> dict[str, Any]:
        feature_set = self._feature_sets[known.feature_set_id]
        shown = {
            "phone_number": known.digits,
            "phone_type": "verified",
            "status": "listed",
            "client_account_id": account_id,
            "created_by_email": _EMAIL,
            "department": feature_set["department_name"],
            "operation": feature_set["calling_operation_name"],
            "process": feature_set["process_name"],
            "subprocess": feature_set["sub_process_name"],
            "feature_set_name": feature_set["name"],
            "call_me_back": "enabled" if feature_set["call_me_back"] else "disabled",
            "created_at": iso(self._clock.wall(known.published_at)),
            "updated_at": iso(self._clock.wall(known.listed_at)),
            "label_name": self._labels.name_of(feature_set["label_id"]),
        }
        return drop_optional_fields(shown, _FIELDS_NEEDED) if self._rules.sparse else shown
