"""Pages of a list, as far as there are any, whatever the server calls the first one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from typing import Any, TypeAlias, TypeVar

import attrs

from ..errors import BadRequestError, NotFoundError

T = TypeVar("T")


@attrs.frozen
class Page:
    """One page.

    Args:
        items: on it.
        total: how many pages there are by the server's account; None where it says nothing.
    """

    items: tuple[Any, ...]
    total: int | None = None


Fetch: TypeAlias = Callable[[int | None], Awaitable[Page]]


async def pages(fetch: Fetch, identity: Callable[[Any], Hashable]) -> AsyncGenerator[tuple[Any, ...]]:
    """Every page once, in order.

    Whether the first page is 0 or 1 is not documented. So the first is asked for without a number, and then 1, 2, 3:
    where counting begins with 1, page 1 is the first again, and is left out. A page that was there before, or that
    is empty, ends the list, whatever the server says of their number: one that counts on for ever does not keep anyone.

    Args:
        fetch: gets a page by its number.
        identity: what makes an item the same one as another.
    """
    seen: set[int] = set()
    number: int | None = None
    while True:
        try:
            page = await fetch(number)
        except (NotFoundError, BadRequestError):
            if number is None:
                raise
            return  # beyond the last page: what that answers is not documented
        # Their hash is enough to know a page again, and a list of any length is not kept.
        mark = hash(tuple(identity(item) for item in page.items))
        is_first_again = number == 1 and mark in seen
        if not page.items or (mark in seen and not is_first_again):
            return
        if not is_first_again:
            seen.add(mark)
            yield page.items
            if page.total is not None and len(seen) >= page.total:
                return
        number = 1 if number is None else number + 1
