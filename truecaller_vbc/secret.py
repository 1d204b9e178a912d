"""Provide a string whose repr is masked."""

from __future__ import annotations

from typing import Final

MASK: Final = "***"


class Secret(str):
    """A `str` whose repr is a mask.

    Tracebacks that capture locals, aiohttp's ``ClientResponseError`` (which prints the request headers)
    and the repr of any container go through ``repr``, so the value stays out of all of them, while sending,
    comparing and formatting work as with any string.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{MASK}'"


def hidden(value: str) -> str:
    """Convert a string to a `Secret`. Other types, in spite of the annotation, are left to the validation."""
    return Secret(value) if _is_plain(type(value)) else value


def _is_plain(kind: type) -> bool:
    return issubclass(kind, str) and kind is not Secret
