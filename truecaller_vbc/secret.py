"""Mask secrets and phone numbers in reprs and messages."""

from __future__ import annotations

import re
from typing import Final

MASK: Final = "***"
_DIGIT: Final = re.compile(r"\d")
_SHOWN_DIGITS: Final = 4
# 8 to 15 digits that are no time in milliseconds (13 digits; a number of a country that begins with 1 has 11).
_IN_TEXT: Final = re.compile(r"(?<![\w.-])\+?(?!1[0-9]{12}(?![0-9]))[1-9][0-9]{7,14}(?![\w-]|\.[0-9])")


class Secret(str):
    """A `str` whose repr is a mask.

    Tracebacks that capture locals, aiohttp's ``ClientResponseError`` (which prints the request headers)
    and the repr of any container go through ``repr``, so the value stays out of all of them, while sending,
    comparing and formatting work as with any string.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{MASK}'"


class SecretBytes(bytes):
    """Bytes whose repr is a mask, for bodies of requests and answers, which have phone numbers in them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"b'{MASK}'"

    __str__ = __repr__


def mask_number(text: object) -> str:
    """Replace all but the last four digits of a phone number by stars."""
    text = str(text)
    masked = len(_DIGIT.findall(text)) - _SHOWN_DIGITS
    return _DIGIT.sub("*", text, masked) if masked > 0 else text


def mask_repr(value: object) -> str:
    """Return the repr of a phone number with all but the last four digits masked."""
    return repr(mask_number(value)) if isinstance(value, str) else mask_number(repr(value))


def mask_set_repr(numbers: frozenset[str]) -> str:
    """Return the repr of a set of phone numbers with all but their last four digits masked."""
    return f"frozenset({{{', '.join(sorted(map(mask_repr, numbers)))}}})" if numbers else "frozenset()"


def mask_numbers_in(text: str) -> str:
    """Mask what looks like a phone number in foreign text, such as an error message of the server."""
    return _IN_TEXT.sub(lambda found: mask_number(found[0]), text)


def hidden(value: str) -> str:
    """Convert a string to a `Secret`. Other types, in spite of the annotation, are left to the validation."""
    return Secret(value) if _is_plain(type(value)) else value


def _is_plain(kind: type) -> bool:
    return issubclass(kind, str) and kind is not Secret
