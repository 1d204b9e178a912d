"""Read lists page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from ..errors import APIError, BadRequestError, NotFoundError

_MOST_WITHOUT_NEWS: Final = 3
_FAR: Final = 1000


@attrs.frozen
class ListPage:
    """Hold one page of a list.

    Args:
        items: items of the page.
        total: number of pages, as the server states it; None if it does not.
    """

    items: tuple[Any, ...]
    total: int | None = None


@attrs.define
class Numbering:
    """Remember for one session how a server numbers the pages of a list.

    Args:
        first: number of the first page, 0 or 1; None until it is known.
    """

    first: int | None = None


Fetch: TypeAlias = Callable[[int | None], Awaitable[ListPage]]


def as_params(asked: Mapping[str, object]) -> dict[str, str]:
    """Return the query of the given values, leaving out None."""
    return {name: str(value) for name, value in asked.items() if value is not None}


async def pages(
    fetch: Fetch,
    identity: Callable[[Any], str | tuple[str, ...] | None],
    numbering: Numbering | None = None,
) -> AsyncGenerator[tuple[Any, ...]]:
    """Yield every page once, in order, and each item once.

    The documents do not say whether the first page is 0 or 1. So the first request leaves the page number out, and the
    next ones ask for 1, 2, 3: if the server counts from 1, page 1 repeats the first page. That is remembered in
    `numbering`, and the next list starts with page 2.

    A page without a new item ends the list, unless the first page stated that there are more. Three such pages in a row
    end it in any case, so that a wrong total cannot cause an endless loop. A refused page ends the list only if no
    total says that it exists and the server refuses a page far beyond it in the same way; else the error is raised.

    If an item is removed while the list is read, one that moves up to a page already read is missed.

    Args:
        fetch: gets a page by its number.
        identity: returns the key of an item; None or ``""`` if only the whole item identifies it.
        numbering: what is known of the server's page numbers.

    Raises:
        APIError: a page cannot be had; the pages before it have been yielded.
    """
    numbering = Numbering() if numbering is None else numbering
    seen: set[int] = set()  # a hash is enough to recognise an item
    first_keys: list[int] = []
    stated = total = without_news = 0
    number: int | None = None
    while True:
        try:
            page = await fetch(number)
        except (NotFoundError, BadRequestError) as error:
            exists = number is None or number < total or (total and numbering.first is not None)
            if exists or not await _is_beyond(fetch, number or 1, error):
                raise
            return
        keys = [hash(identity(item) or item) for item in page.items]
        new = tuple(item for item, key in zip(page.items, keys, strict=True) if not _known(key, seen))
        total = page.total or total
        if number is None:
            first_keys, stated = keys, total
        elif number == 1 and numbering.first is None:
            numbering.first = _first_number(first_keys, keys)
        position = (number or 1) + (number is not None and numbering.first == 0)
        if new:
            yield new
            without_news = 0
        elif not (number == 1 and keys):  # page 1 may repeat the first page
            without_news += 1
            if position >= stated or without_news >= _MOST_WITHOUT_NEWS:
                return
        if total and position >= total:
            return
        number = number + 1 if number is not None else 2 if numbering.first == 1 else 1


def _known(key: int, seen: set[int]) -> bool:
    """Tell whether a key was seen before, and add it."""
    before = len(seen)
    seen.add(key)
    return len(seen) == before


def _first_number(first: list[int], page_1: list[int]) -> int | None:
    """Return the number of the first page, from its items and those of page 1; None if they do not tell."""
    if len(first) < 2 or not page_1:  # noqa: PLR2004 - a single item may also have moved to page 1, or vanished
        return None
    if page_1 == first:
        return 1
    return None if set(page_1).intersection(first) else 0


async def _is_beyond(fetch: Fetch, number: int, refusal: APIError) -> bool:
    """Tell whether a page was refused since the list ends before it: then a far page is refused in the same way."""
    try:
        await fetch(number + _FAR)
    except (NotFoundError, BadRequestError) as error:
        return (type(error), error.status) == (type(refusal), refusal.status)
    return False
