"""Pages of the endpoints that list something (API reference, "Undocumented" 16).

Where the documents are silent: ``page`` and ``limit`` are whole numbers, a page before the first is an error, one after
the last is empty, and no ``limit`` is too large.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs

from .api_answers import RefusedError
from .api_rules import ApiRules

_T = TypeVar("_T")
_WHOLE: Final = re.compile(r"[0-9]{1,9}")


@attrs.frozen
class Page:
    """The page that is asked for.

    Attributes:
        place: how many pages go before it.
        size: how many items a page has.
    """

    place: int
    size: int

    def count(self, items: Sequence[Any]) -> int:
        """How many pages all of `items` take."""
        return -(-len(items) // self.size)

    def of(self, items: Sequence[_T]) -> Sequence[_T]:
        """Those of `items` that are on this page."""
        return items[self.place * self.size : (self.place + 1) * self.size]

    def or_last(self, items: Sequence[Any]) -> Page:
        """This page, or the last one if it comes after that."""
        return attrs.evolve(self, place=min(self.place, max(0, self.count(items) - 1)))


def asked_page(query: Mapping[str, str], rules: ApiRules) -> Page:
    """The page that `query` asks for.

    Raises:
        RefusedError: ``page`` or ``limit`` is no number or too small.
    """
    number = _whole(query, "page", rules.first_page, rules.first_page)
    return Page(number - rules.first_page, _whole(query, "limit", rules.page_size, 1))


def _whole(query: Mapping[str, str], name: str, usual: int, least: int) -> int:
    text = query.get(name)
    if text is None:
        return usual
    if not _WHOLE.fullmatch(text) or int(text) < least:
        raise RefusedError(name, f"{name} must be an integer of {least} or more")
    return int(text)
