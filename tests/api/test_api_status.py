"""The words by which the API says how far it is, and why a record did not arrive."""

from __future__ import annotations

from typing import Any

import pytest

from truecaller_vbc import FailureReason
from truecaller_vbc.api.models import Status


@pytest.mark.parametrize("word", ["success", "error", "failed", "pending", "listed", "draft", ""])
def test_each_documented_word(word: str) -> None:
    """In any case and with white space around it, it is the documented word."""
    for spelt in (word, word.upper(), word.title(), f" {word}\n"):
        assert (Status(spelt), Status(spelt).known) == (word, True)


def test_what_will_stay_so() -> None:
    """Listed is not final, since a number may be delisted again; nor is what has not been said yet."""
    assert {word for word in Status if word.final} == {"success", "error", "failed"}


def test_another_word_is_kept_to_the_letter() -> None:
    """With its white space: it may mean something to whoever reads it."""
    odd = Status(" Odd ")

    assert (odd, odd.value, odd.known) == (" Odd ", " Odd ", False)


@pytest.mark.parametrize("value", [None, 7, ["success"]])
def test_what_is_no_word_is_no_status(value: Any) -> None:
    """A number or a list is not made into a word that the API never said."""
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
    """The server may say more after it; what merely mentions a reason names none."""
    assert FailureReason.of(message) is reason
