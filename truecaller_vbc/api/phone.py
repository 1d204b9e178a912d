"""Phone numbers: E.164 inside, rendered for each endpoint, compared by their digits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ..errors import InvalidRecordError, Problem

_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_ALMOST: Final = re.compile(r"(?:\+|00)?[\s().-]*([1-9](?:[\s().-]*[0-9]){6,14})[\s().-]*")
_DIGITS: Final = re.compile(r"[0-9]+")

is_e164 = _E164.fullmatch
"""A match if the text is a number in E.164: a plus, and 7 to 15 digits of which the first is no zero."""


def number_problem(value: object) -> str:
    """What is wrong with a number that is not in E.164, and how to write it."""
    if value is None or value == "":
        return "is missing: a number such as '+911234567890' is needed"
    if not isinstance(value, str):
        return f"must be a string such as '+911234567890', not {type(value).__name__}"
    if almost := _ALMOST.fullmatch(value):
        digits = "".join(_DIGITS.findall(almost[1]))
        return f"{value!r} is not in E.164: write '+{digits}', if that is the number with its country code"
    return f"{value[:40]!r} is no phone number: E.164 is needed, such as '+911234567890'"


plain = str.__str__
"""An E.164 number as batch v3 wants it: its own text, also of an Enum that is a str."""


def without_plus(number: str) -> str:
    """An E.164 number as real-time v2 and the number management want it."""
    return number[1:]


def as_e164(text: str) -> str:
    """A number of the API's, which writes them with and without a plus, in E.164; other text as it is."""
    number = text if text.startswith("+") else f"+{text}"
    return number if is_e164(number) else text


def checked_numbers(numbers: Iterable[str]) -> tuple[str, ...]:
    """The numbers, each once, in their order.

    Raises:
        InvalidRecordError: names every one that is not in E.164, or says that there are none.
    """
    if isinstance(numbers, str):
        raise InvalidRecordError([Problem("phone_numbers", "must be several numbers: put a single one into a list")])
    given: tuple[object, ...] = tuple(numbers)
    problems = [
        Problem("phone_numbers", number_problem(number), position)
        for position, number in enumerate(given)
        if not isinstance(number, str) or not is_e164(number)
    ]
    if not given:
        problems.append(Problem("phone_numbers", "is empty: at least one number is needed"))
    if problems:
        raise InvalidRecordError(problems)
    return tuple(dict.fromkeys(number for number in given if isinstance(number, str)))
