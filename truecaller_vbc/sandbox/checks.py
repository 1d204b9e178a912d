"""Validators shared by the sandbox's settings: each error names the field and says what it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

Validator: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def seconds(*, positive: bool = False, endless: bool = False) -> Validator:
    """A number of seconds: at least zero, or above zero if `positive`; infinity only if `endless`."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not _is_number(value) or value < 0 or (positive and value == 0):
            wanted = "above zero" if positive else "of zero or more"
            raise ValueError(f"{field.name} must be a number of seconds {wanted}, not {value!r}")
        if value == math.inf and not endless:
            raise ValueError(f"{field.name} must be finite")

    return check


def whole(least: int, most: float = math.inf) -> Validator:
    """An int from `least` to `most`."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            limit = f"of {least} or more" if most == math.inf else f"from {least} to {most}"
            raise ValueError(f"{field.name} must be an int {limit}, not {value!r}")

    return check


def or_none(check: Validator) -> Validator:
    """None, or what `check` lets through."""
    return attrs.validators.optional(check)


def one_of(*choices: object) -> Validator:
    """One of the given values, of the same type."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ValueError(f"{field.name} must be one of {', '.join(map(repr, choices))}, not {value!r}")

    return check


def switch(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """True or False, and nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise ValueError(f"{field.name} must be True or False, not {value!r}")  # noqa: TRY004 one error type for all


def label(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field.name} must be a string that is not empty, not {value!r}")


def instance_of(kind: type) -> Validator:
    """An instance of `kind`."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, kind):
            raise ValueError(f"{field.name} must be {kind.__name__}, not {value!r}")  # noqa: TRY004 one error type for all

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
