"""Test status words and failure reasons."""

from __future__ import annotations

from typing import Any

import pytest

from truecaller_vbc import FailureReason
from truecaller_vbc.api.models import Status


@pytest.mark.parametrize("word", ["success", "error", "failed", "pending", "listed", "draft", ""])
def test_each_documented_word(word: str) -> None:
    """Documented words are recognised in any case and with surrounding white space."""
    for spelt in (word, word.upper(), word.title(), f" {word}\n"):
        assert (Status(spelt), Status(spelt).known) == (word, True)


def test_final_statuses() -> None:
    """Listed is not final, since a number may be delisted, and neither is a missing status."""
    assert {word for word in Status if word.final} == {"success", "error", "failed"}


def test_undocumented_word_is_kept() -> None:
    """An undocumented word is kept with its white space."""
    odd = Status(" Odd ")

    assert (odd, odd.value, odd.known) == (" Odd ", " Odd ", False)


@pytest.mark.parametrize("value", [None, 7, ["success"]])
def test_status_of_another_type(value: Any) -> None:
    """A value that is not a string is a ValueError."""
    with pytest.raises(ValueError, match="is not a valid Status"):
        Status(value)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Failed to push", FailureReason.FAILED_TO_PUSH),
        ("FAILED_TO-push: device is offline", FailureReason.FAILED_TO_PUSH),
        (" OS not supported (iOS)", FailureReason.OS_NOT_SUPPORTED),
        ("The word OS not supported is not at its start", None),
        ("Failed", None),
        ("", None),
        (None, None),
    ],
)
def test_reason_that_a_message_begins_with(message: str | None, reason: FailureReason | None) -> None:
    """A message names a reason if it begins with it."""
    assert FailureReason.of(message) is reason
