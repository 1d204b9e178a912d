"""Publishing, delisting and reading numbers: ``number_management`` (API reference, "G", "H" and "I")."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from .answers import json_answer
from .api_answers import InvalidBodyError, RefusedError
from .api_rules import ApiRules
from .bodies import is_array, json_object
from .clock import SandboxClock, iso
from .feature_sets import FeatureSetBook
from .labels import LabelBook
from .numbers import Buckets, KnownNumber, NumberBook
from .paging import asked_page
from .thinning import thinned

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
_NEEDED: Final = ("phone_number", "status", "feature_set_name")


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
        return thinned(shown, _NEEDED) if self._rules.sparse else shown
