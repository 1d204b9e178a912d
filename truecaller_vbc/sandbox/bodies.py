"""Request bodies, and what is found in them."""

from __future__ import annotations

import json
from typing import Any, TypeGuard


def json_object(raw: bytes) -> dict[str, Any] | None:
    """The JSON object in `raw`, or None if there is anything else."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return body if is_object(body) else None


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether `value` is a JSON object."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Whether `value` is a JSON array."""
    return isinstance(value, list)
