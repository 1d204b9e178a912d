"""Define the API's status words. Undocumented words are kept unchanged."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final, Self


class OpenEnum(StrEnum):
    """Keep unknown values: ``Status("odd")`` is a member with that value."""

    @classmethod
    def _missing_(cls, value: object) -> Any:
        if not isinstance(value, str):
            return None
        known = next((member for member in cls if member.value == value.strip().lower()), None)
        if known is not None:
            return known
        member = str.__new__(cls, value)
        member._name_ = "UNKNOWN"
        member._value_ = value
        return member

    @property
    def known(self) -> bool:
        """Tell whether it is one of the documented words."""
        return self._name_ != "UNKNOWN"


class Status(OpenEnum):
    """Name the state of a record, a number or a feature set (API reference, "Status strings")."""

    SUCCESS = "success"
    ERROR = "error"
    FAILED = "failed"
    PENDING = "pending"
    LISTED = "listed"
    DRAFT = "draft"
    NONE = ""

    @property
    def final(self) -> bool:
        """Tell whether the state can still change. An undocumented word is not final."""
        return self in _FINAL


_FINAL: Final = frozenset({Status.SUCCESS, Status.ERROR, Status.FAILED})


class FailureReason(StrEnum):
    """Name why a record did not reach its receiver (API reference, "Call Personalisation Errors")."""

    INVALID_INPUT = "Invalid input"
    NOT_A_TRUECALLER_USER = "Not a Truecaller user"
    OS_NOT_SUPPORTED = "OS not supported"
    APP_VERSION_NOT_SUPPORTED = "App version not supported"
    FAILED_TO_PUSH = "Failed to push"

    @property
    def may_pass(self) -> bool:
        """Tell whether a retry within the record's window makes sense, since the device was only out of reach."""
        return self is FailureReason.FAILED_TO_PUSH

    @classmethod
    def of(cls, message: str | None) -> Self | None:
        """Return the reason that a message names, ignoring case and spacing; None for other messages."""
        words = _letters(message or "")
        return next((reason for reason in cls if words.startswith(_letters(reason.value))), None)


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()
