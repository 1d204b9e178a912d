"""Keep the account's dynamic labels, and answer ``GET /clients/{id}/labels`` (API reference, "E")."""

from __future__ import annotations

import uuid
from typing import Any, Final

from aiohttp import web

from .responses import drop_optional_fields, json_answer, requested_page
from .rules import ApiRules

FLOWER_SHOP: Final = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
"""The label that always exists."""

_NEEDED: Final = ("id", "name", "label_type")


class LabelStore:
    """Keep the labels of the account; it starts with two.

    Attributes:
        dynamic: the IDs that a call record may name.
    """

    def __init__(self) -> None:
        self.dynamic: set[str] = set()
        self._labels: dict[str, dict[str, Any]] = {}
        self.add("FlowerEra", "255297eb-7f13-44f9-967a-f287ff0f5025", "dynamic", "2025-07-07T06:53:55.402122Z")
        self.add("Flower shop", FLOWER_SHOP, "dynamic", "2025-07-08T10:11:12.5Z")

    def add(self, name: str, label_id: str | None, label_type: str, created_at: str) -> str:
        """Add a label, replacing one with the same ID, and return its ID."""
        label_id = label_id or str(uuid.uuid4())
        self._labels[label_id] = {
            "id": label_id,
            "name": name,
            "logo_url": f"https://example.com/{label_id}.png",
            "category": 10,
            "sub_category": 142,
            "created_by_email": "someone@example.com",
            "created_at": created_at,
            "label_type": label_type,
        }
        self.dynamic.discard(label_id)
        if label_type == "dynamic":
            self.dynamic.add(label_id)
        return label_id

    def name_of(self, label_id: str) -> str:
        """Return the label's name."""
        return str(self._labels[label_id]["name"])

    def all(self) -> list[dict[str, Any]]:
        """Return the labels, oldest first."""
        return list(self._labels.values())


class LabelEndpoint:
    """List the labels as a bare array."""

    def __init__(self, rules: ApiRules, store: LabelStore) -> None:
        self._rules = rules
        self._store = store

    async def get(self, request: web.Request) -> web.Response:
        """Return one page of labels."""
        labels = requested_page(request.query, self._rules).of(self._store.all())
        return json_answer([drop_optional_fields(label, _NEEDED) if self._rules.sparse else label for label in labels])
