"""Keep feature sets and numbers, and answer the number management endpoints."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs
from aiohttp import web

from .clock import SandboxClock, iso
from .labels import FLOWER_SHOP, LabelBook
from .records import NO_PLUS
from .responses import InvalidBodyError, RefusedError, asked_page, is_array, json_answer, json_object, thinned
from .rules import ApiRules

PRIO1: Final = "069d2e3a-41e6-41f9-a768-157d7e3bd6b9"
"""The feature set that there always is."""

_NEEDED: Final = ("id", "name", "status")
_FILTERS: Final = ("department_id", "operation_id", "process_id")


class FeatureSetBook:
    """The feature sets of the account; one of them to begin with."""

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
        """Those that the query's filters let through, the oldest first."""
        wanted = [(name, query[name]) for name in _FILTERS if name in query]
        return [one for one in self._sets.values() if all(one[name] == value for name, value in wanted)]


class FeatureSetEndpoint:
    """Lists the feature sets."""

    def __init__(self, rules: ApiRules, book: FeatureSetBook) -> None:
        self._rules = rules
        self._book = book

    async def get(self, request: web.Request) -> web.Response:
        """One page of them. No page count is documented here, so there is none."""
        found = asked_page(request.query, self._rules).of(self._book.matching(request.query))
        if self._rules.sparse:
            return json_answer({"feature_sets": [thinned(one, _NEEDED) for one in found] or None})
        return json_answer({"feature_sets": found})


Buckets: TypeAlias = dict[str, list[str]]


@attrs.define
class KnownNumber:
    """A number that was published: when, and from when until when it is listed."""

    digits: str
    feature_set_id: str
    published_at: float
    listed_at: float
    gone_at: float = math.inf

    def is_listed(self, now: float) -> bool:
        """Whether it is listed at `now`; also while it is being delisted."""
        return self.listed_at <= now < self.gone_at


class NumberBook:
    """The numbers of the account."""

    def __init__(self, rules: ApiRules) -> None:
        self._rules = rules
        self._numbers: dict[str, KnownNumber] = {}

    def publish(self, feature_set_id: str, numbers: Iterable[str], now: float) -> Buckets:
        """Begin to list those that are new; the answer's buckets."""
        buckets: Buckets = {}
        for number in dict.fromkeys(numbers):
            buckets.setdefault(self._publish(feature_set_id, number, now), []).append(number)
        return buckets

    def delist(self, feature_set_id: str, numbers: Iterable[str], now: float) -> Buckets:
        """Begin to delist those that are known to the set; the answer's buckets."""
        buckets: Buckets = {}
        for number in dict.fromkeys(numbers):
            buckets.setdefault(self._delist(feature_set_id, number, now), []).append(number)
        return buckets

    def listed(self, now: float) -> Iterator[KnownNumber]:
        """Those that are listed at `now`, in the order in which they were published."""
        return (known for known in self._numbers.values() if known.is_listed(now))

    def _publish(self, feature_set_id: str, number: str, now: float) -> str:
        if not NO_PLUS.fullmatch(number):
            return "invalid_numbers"
        known = self._known(number, now)
        if known is None:
            self._numbers[number] = KnownNumber(number, feature_set_id, now, now + self._rules.listing_seconds)
        elif known.gone_at < math.inf:
            pass  # Documented: while a number is being delisted, this is ignored, and the answer does not show it.
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
    """The three of them, on one book."""

    def __init__(
        self,
        rules: ApiRules,
        book: NumberBook,
        feature_sets: FeatureSetBook,
        labels: LabelBook,
        clock: SandboxClock,
    ) -> None:
        self._rules = rules
        self._book = book
        self._feature_sets = feature_sets
        self._labels = labels
        self._clock = clock

    async def publish(self, request: web.Request) -> web.Response:
        """The buckets, after those that are new were set on their way."""
        feature_set_id, numbers = await self._asked(request)
        buckets = self._book.publish(feature_set_id, numbers, self._clock.elapsed())
        head = {
            "client_account_id": request.match_info["account"],
            "created_by_email": _EMAIL,
            "phone_type": "verified",
        }
        return self._result(head, _PUBLISH, buckets, good=("new_numbers", "existing_numbers"))

    async def delist(self, request: web.Request) -> web.Response:
        """The buckets, after those that are known to the set were set on their way."""
        feature_set_id, numbers = await self._asked(request)
        buckets = self._book.delist(feature_set_id, numbers, self._clock.elapsed())
        head = {"client_account_id": request.match_info["account"], "phone_type": ""}
        return self._result(head, _DELIST, buckets, good=("existing_numbers", "processing_numbers"))

    async def get(self, request: web.Request) -> web.Response:
        """One page of the numbers that are listed."""
        page = asked_page(request.query, self._rules)
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
            body = thinned(body, ("status", *buckets))
        return json_answer(body, self._rules.failed_status if failed else 200)

    def _matching(self, request: web.Request) -> list[KnownNumber]:
        sets = {one["id"] for one in self._feature_sets.matching(request.query)}
        if "feature_set_id" in request.query:
            sets &= {request.query["feature_set_id"]}
        return [known for known in self._book.listed(self._clock.elapsed()) if known.feature_set_id in sets]

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
        return thinned(shown, _FIELDS_NEEDED) if self._rules.sparse else shown
