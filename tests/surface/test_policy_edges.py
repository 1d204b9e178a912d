"""Limits of the two policies, and the forms of durations."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from truecaller_vbc import APIPolicy, ConfigurationError, TokenPolicy

DURATIONS = [
    (kind, field.name)
    for kind in (TokenPolicy, APIPolicy)
    for field in attrs.fields(kind)
    if isinstance(field.default, timedelta)
]
MAY_BE_ZERO = {
    "refresh_jitter",
    "expiry_margin",
    "rejection_grace",
    "patience",
    "close_grace",
    "adoption_delay",
    "pool_wait",
}


@pytest.mark.parametrize(("kind", "name"), DURATIONS)
def test_zero_and_negative_durations(kind: Any, name: str) -> None:
    """Zero is refused where it would mean a loop without waiting; negative durations are always refused."""
    if name in MAY_BE_ZERO:
        assert getattr(kind(**{name: 0}), name) == timedelta(0)
    else:
        with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\({name}="):
            kind(**{name: 0})
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\({name}="):
        kind(**{name: -0.001})


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (TokenPolicy, {"max_mints": 1, "reserve_mints": 0}),
        (TokenPolicy, {"reserve_mints": 9}),
        (TokenPolicy, {"refresh_jitter": timedelta(minutes=45) - timedelta.resolution}),
        (TokenPolicy, {"expiry_margin": timedelta(minutes=15) - timedelta.resolution}),
        (TokenPolicy, {"retry_first": timedelta(seconds=60)}),
        (APIPolicy, {"attempts": 1}),
        (APIPolicy, {"realtime_rate": 1, "batch_rate": 1}),
        (APIPolicy, {"realtime_rate": None, "batch_rate": None}),
        (APIPolicy, {"retry_first": timedelta(seconds=8)}),
        (APIPolicy, {"poll_first": timedelta(seconds=30)}),
    ],
)
def test_last_allowed_values(kind: Any, values: dict[str, Any]) -> None:
    """The last value that fits the other settings is allowed."""
    policy = kind(**values)

    assert {name: getattr(policy, name) for name in values} == values


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (TokenPolicy, {"refresh_jitter": timedelta(minutes=45)}),
        (TokenPolicy, {"reserve_mints": True}),
        (TokenPolicy, {"reserve_mints": 1.0}),
        (TokenPolicy, {"max_mints": 0, "reserve_mints": -1}),
        (APIPolicy, {"attempts": True}),
        (APIPolicy, {"realtime_rate": True}),
        (APIPolicy, {"batch_rate": 0}),
        (APIPolicy, {"retry_first": timedelta(seconds=8) + timedelta.resolution}),
        (APIPolicy, {"poll_first": timedelta(seconds=30) + timedelta.resolution}),
    ],
)
def test_first_refused_values(kind: Any, values: dict[str, Any]) -> None:
    """The first value that contradicts the other settings is refused, as is a count that is not an integer."""
    with pytest.raises(ConfigurationError, match=kind.__name__):
        kind(**values)


@pytest.mark.parametrize(("kind", "name"), DURATIONS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "1", None, True, [1]])
def test_impossible_duration_is_named(kind: Any, name: str, value: Any) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\({name}="):
        kind(**{name: value})


def test_lease_and_usable_life_follow_from_the_policy() -> None:
    """A lease lasts twice `mint_timeout`; a token is returned until `expiry_margin` before its end."""
    assert TokenPolicy(mint_timeout=timedelta(seconds=4)).lease == timedelta(seconds=8)
    assert TokenPolicy(expiry_margin=timedelta(seconds=40)).usable_for == timedelta(minutes=59, seconds=20)


@pytest.mark.parametrize("seconds", [90, 90.0, timedelta(seconds=90)])
def test_duration_in_seconds_or_as_a_timedelta(seconds: Any) -> None:
    """A duration is a number of seconds or a timedelta."""
    assert TokenPolicy(rejection_grace=seconds).rejection_grace == timedelta(seconds=90)


@pytest.mark.parametrize("value", [True, None, "90", float("inf"), float("nan"), 10**400, 1e300, -1e300])
@pytest.mark.parametrize("kind", [TokenPolicy, APIPolicy])
def test_invalid_duration(kind: Any, value: object) -> None:
    """An invalid duration raises an error that names the setting."""
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\(retry_first=\.\.\.\) must be"):
        kind(retry_first=value)


@pytest.mark.parametrize("factor", [1e300, 10**400])
@pytest.mark.parametrize("kind", [TokenPolicy, APIPolicy])
def test_factor_too_large_for_a_timedelta(kind: Any, factor: float) -> None:
    """A finite factor that is too large for a timedelta is refused."""
    with pytest.raises(ConfigurationError, match=rf"{kind.__name__}\.scaled\(\) makes durations"):
        kind().scaled(factor)
