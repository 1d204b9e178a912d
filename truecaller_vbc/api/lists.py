"""Read lists page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping
from typing import Any, TypeAlias

import attrs

from ..errors import BadRequestError, NotFoundError


@attrs.frozen
class ListPage:
    """Hold one page of a list.

    Args:
        items: items of the page.
        total: number of pages, as the server states it; None if it does not.
    """

    items: tuple[Any, ...]
    total: int | None = None


Fetch: TypeAlias = Callable[[int | None], Awaitable[ListPage]]


def as_params(asked: Mapping[str, object]) -> dict[str, str]:
    """Return the query of the given values, leaving out None."""
    return {name: str(value) for name, value in asked.items() if value is not None}


async def pages(
    fetch: Fetch, identity: Callable[[Any], str | tuple[str, ...] | None]
) -> AsyncGenerator[tuple[Any, ...]]:
    """Yield every page once, in order.

    The documents do not say whether the first page is 0 or 1. So the first request leaves the page number out, and the
    next ones ask for 1, 2, 3: if the server counts from 1, page 1 repeats the first page and is skipped. A repeated or
    empty page ends the list whatever total the server states, so that a wrong total cannot cause an endless loop.

    If an item is inserted while the list is read, the last item of a page comes again on the next page and is skipped.
    If an item is removed, one that moves up to a page already read is missed.

    Args:
        fetch: gets a page by its number.
        identity: returns the key of an item; None or ``""`` if only the whole item identifies it.
    """
    seen: set[int] = set()
    before: frozenset[Hashable] = frozenset()
    number: int | None = None
    while True:
        try:
            page = await fetch(number)
        except (NotFoundError, BadRequestError):
            if number is None:
                raise
            return  # The answer beyond the last page is not documented.
        names: list[Hashable] = [identity(item) or item for item in page.items]
        # A hash is enough to recognise a page, and keeps memory constant.
        mark = hash(tuple(names))
        new = tuple(item for item, name in zip(page.items, names, strict=True) if name not in before)
        is_first_again = number == 1 and len(new) < len(names)
        if not is_first_again and (not new or mark in seen):
            return
        if new:
            yield new
        # Compare as if the first page were 1; a server that counts from 0 gets one request too many.
        if page.total and (number or 1) >= page.total:
            return
        seen.add(mark)
        before = before.union(names) if is_first_again else frozenset(names)
        number = 1 if number is None else number + 1
