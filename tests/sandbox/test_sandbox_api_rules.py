"""Defaults and limits of `ApiRules`."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from truecaller_vbc.sandbox import ApiRules, SandboxRules


def test_defaults_are_the_documented_numbers() -> None:
    """The limits are 100 calls a second and 60 batches a minute."""
    rules = SandboxRules().api

    assert (rules.realtime_per_second, rules.batch_per_minute, rules.page_size) == (100, 60, 1000)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("realtime_per_second", 0),
        ("realtime_per_second", 1.5),
        ("batch_per_minute", True),
        ("retry_after", 1),
        ("envelope", "E4"),
        ("validation_status", "400"),
        ("outcome_status", 422),
        ("batch_seconds", -1),
        ("batch_pending", "none"),
        ("bad_record", "batch"),
        ("status_key", "status"),
        ("data_order", "random"),
        ("keep_batches", 0),
        ("listing_seconds", float("nan")),
        ("delisting_seconds", "1"),
        ("failed_status", 404),
        ("first_page", 2),
        ("first_page", True),
        ("page_size", 0),
        ("total_page_count", "none"),
        ("sparse", None),
        ("unknown_status", ""),
        ("unknown_status", 5),
    ],
)
def test_wrong_value_is_refused_by_name(field: str, value: object) -> None:
    """A value out of range raises ValueError, and the message begins with the field."""
    settings: dict[str, Any] = {field: value}

    with pytest.raises(ValueError, match=rf"^{field} must be "):
        ApiRules(**settings)


def test_every_rule_is_checked() -> None:
    """Every field has a validator."""
    assert [field.name for field in attrs.fields(ApiRules) if field.validator is None] == []


def test_rules_of_the_api_are_rules() -> None:
    """A value of another type in place of ApiRules is refused."""
    wrong: Any = {"realtime_per_second": 5}

    with pytest.raises(ValueError, match=r"^api must be ApiRules"):
        SandboxRules(api=wrong)
