"""Read durations of users, which are timedeltas or numbers of seconds."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, TypeGuard, TypeVar, cast

import attrs

from .errors import ConfigurationError

T = TypeVar("T", bound=attrs.AttrsInstance)


def duration(owner: str, **span: float) -> Any:
    """Return an attrs field of the class `owner` that holds a timedelta, by default of this length."""

    def convert(value: object, field: attrs.Attribute[Any]) -> timedelta:
        return as_duration(value, owner=f"{owner}({field.name}=...)")

    return attrs.field(default=timedelta(**span), converter=attrs.Converter(convert, takes_field=True))


def as_duration(value: object, *, owner: str) -> timedelta:
    """Return a timedelta as it is, and a number as seconds.

    Args:
        value: from the user.
        owner: the setting to name in the error.

    Raises:
        ConfigurationError: the value is neither, or too long.
    """
    if isinstance(value, timedelta):
        return value
    if not is_finite(value):
        raise ConfigurationError(f"{owner} must be a timedelta or a finite number of seconds, not {value!r}")
    try:
        return timedelta(seconds=value)
    except OverflowError:
        raise ConfigurationError(f"{owner} must be a duration that a timedelta can hold") from None


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether `value` is a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return isinstance(value, int) or math.isfinite(value)


def scaled(policy: T, factor: float) -> T:
    """Return `policy` with every duration multiplied by `factor`.

    Raises:
        ConfigurationError: `factor` is not a positive finite number, or makes durations too long.
    """
    kind = type(policy).__name__
    if not is_finite(factor) or factor <= 0:
        raise ConfigurationError(f"{kind}.scaled() needs a positive finite factor, not {factor!r}")
    changes: dict[str, Any] = {}
    for name in duration_names(type(policy)):
        try:
            changes[name] = getattr(policy, name) * factor
        except OverflowError:
            raise ConfigurationError(f"{kind}.scaled() makes durations that no timedelta can hold") from None
    return cast(T, attrs.evolve(cast(Any, policy), **changes))


def duration_names(kind: type[attrs.AttrsInstance]) -> tuple[str, ...]:
    """Return the names of the fields of an attrs class that are durations."""
    return tuple(field.name for field in attrs.fields(kind) if isinstance(field.default, timedelta))
