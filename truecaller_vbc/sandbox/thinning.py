"""Answers as thin as the documents allow (`ApiRules.sparse`)."""

from __future__ import annotations

from collections.abc import Container
from typing import Any


def thinned(item: dict[str, Any], needed: Container[str]) -> dict[str, Any]:
    """`item` with its needed fields; the others are null and missing by turns, whatever they hold."""
    others = [name for name in item if name not in needed]
    missing = set(others[1::2])
    return {name: value if name in needed else None for name, value in item.items() if name not in missing}
