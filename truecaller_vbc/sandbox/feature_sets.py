"""``GET /clients/{id}/number_management/feature_sets``: what numbers are published to (API reference, "F")."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from .answers import json_answer
from .api_rules import ApiRules
from .labels import FLOWER_SHOP
from .paging import asked_page
from .thinning import thinned

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
