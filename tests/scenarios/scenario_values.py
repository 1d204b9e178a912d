"""Define expected values and the error for invalid scenarios."""

from __future__ import annotations

from typing import Any, TypeAlias

Number: TypeAlias = Any
"""An expected number: itself, or ``[least, most]``, or null where there must be none."""


class ScenarioError(Exception):
    """The scenario is invalid."""


def check_number(_: object, attribute: Any, value: object) -> None:
    """Validate a `Number` (an attrs validator)."""
    if not is_number(value):
        raise ScenarioError(f"{attribute.name}: a number, [least, most] or null is needed, not {value!r}")


def is_number(value: object) -> bool:
    """Return whether this is an expected number."""
    match value:
        case None | int() | float():
            return not isinstance(value, bool)
        case [int() | float() as least, int() | float() as most]:
            return least <= most
        case _:
            return False
