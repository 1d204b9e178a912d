"""Read durations of users, which are timedeltas or numbers of seconds."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

import attrs

from .errors import ConfigurationError

T = TypeVar("T", bound=attrs.AttrsInstance)


def _convert(value: float | timedelta, owner: object, field: attrs.Attribute[Any]) -> timedelta:
    return as_duration(value, owner=f"{type(owner).__name__}({field.name}=...)")


def _convert_optional(value: float | timedelta | None, owner: object, field: attrs.Attribute[Any]) -> timedelta | None:
    return None if value is None else _convert(value, owner, field)


if TYPE_CHECKING:
    # Type checkers take an argument's type from a plain function only.
    def duration(value: float | timedelta) -> timedelta:
        """Convert the value of a field that is a duration."""
        ...

    def optional_duration(value: float | timedelta | None) -> timedelta | None:
        """Convert the value of a field that is a duration or None."""
        ...
else:
    duration = attrs.Converter(_convert, takes_self=True, takes_field=True)
    optional_duration = attrs.Converter(_convert_optional, takes_self=True, takes_field=True)


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
        if (value := getattr(policy, name)) is None:
            continue
        try:
            changes[name] = value * factor
        except OverflowError:
            raise ConfigurationError(f"{kind}.scaled() makes durations that no timedelta can hold") from None
    return cast(T, attrs.evolve(cast(Any, policy), **changes))


def check_positive(policy: attrs.AttrsInstance, may_be_zero: Collection[str]) -> None:
    """Check that every duration of a policy is positive.

    Args:
        policy: with durations that may be None.
        may_be_zero: names of the durations that may be 0.

    Raises:
        ConfigurationError: one is not; the message names it.
    """
    zero = timedelta(0)
    for name in duration_names(type(policy)):
        value = getattr(policy, name)
        if value is not None and (value < zero or (value == zero and name not in may_be_zero)):
            raise ConfigurationError(f"{type(policy).__name__}({name}=...) must be positive")


@functools.cache
def duration_names(kind: type[attrs.AttrsInstance]) -> tuple[str, ...]:
    """Return the names of the fields of an attrs class that are durations."""
    return tuple(field.name for field in attrs.fields(kind) if field.converter in (duration, optional_duration))


@functools.lru_cache(maxsize=256)
def seconds(value: timedelta) -> float:
    """Return the seconds of a duration: one object for equal ones, since thousands of sessions keep them."""
    return value.total_seconds()
