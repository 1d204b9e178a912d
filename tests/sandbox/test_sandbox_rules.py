"""Defaults and limits of `SandboxRules`."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from truecaller_vbc.sandbox import SandboxRules


def test_defaults_are_the_documented_numbers() -> None:
    """By default a token lives 60 minutes, and 10 are granted in 30 minutes."""
    rules = SandboxRules()

    assert (rules.token_lifetime, rules.max_mints, rules.mint_window) == (3600.0, 10, 1800.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token_lifetime", 0),
        ("token_lifetime", float("nan")),
        ("token_lifetime", float("inf")),
        ("token_lifetime", "60"),
        ("max_mints", 0),
        ("max_mints", 2.5),
        ("max_mints", True),
        ("mint_window", -1.0),
        ("window", "rolling"),
        ("over_quota", 429),
        ("count_failed", 1),
        ("revoke_previous", "no"),
        ("dead_token", "403"),
        ("reuse_token", None),
        ("reuse_until", -0.1),
        ("rejected_credentials", 500),
        ("latency", True),
        ("latency", float("inf")),
        ("token_latency", -1),
        ("date_header", "yes"),
        ("created_at", "epoch"),
        ("require_public_access", 0),
    ],
)
def test_wrong_value_is_refused_by_name(field: str, value: object) -> None:
    """A value out of range raises ValueError, and the message begins with the field."""
    settings: dict[str, Any] = {field: value}

    with pytest.raises(ValueError, match=rf"^{field} must be "):
        SandboxRules(**settings)


def test_every_rule_is_checked() -> None:
    """Every field has a validator."""
    assert [field.name for field in attrs.fields(SandboxRules) if field.validator is None] == []


def test_rules_cannot_change() -> None:
    """Rules cannot be changed."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        SandboxRules().latency = 1.0  # type: ignore[misc]
