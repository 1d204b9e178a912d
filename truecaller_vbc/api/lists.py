"""Look up what the server does later: pages of lists, and repeated looks with growing pauses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, TypeAlias

import attrs

from ..errors import BadRequestError, NotFoundError
from .policy import APIPolicy


@attrs.frozen
class ListPage:
    """One page.

    Args:
        items: on it.
        total: how many pages there are by the server's account; None where it says nothing.
    """

    items: tuple[Any, ...]
    total: int | None = None


Fetch: TypeAlias = Callable[[int | None], Awaitable[ListPage]]


def as_params(asked: Mapping[str, object]) -> dict[str, str]:
    """A query of what is given; None is not."""
    return {name: str(value) for name, value in asked.items() if value is not None}


async def pages(
    fetch: Fetch, identity: Callable[[Any], str | tuple[str, ...] | None]
) -> AsyncGenerator[tuple[Any, ...]]:
    """Every page once, in order.

    Whether the first page is 0 or 1 is not documented. So the first is asked for without a number, and then 1, 2, 3:
    where counting begins with 1, page 1 is the first again, and is left out. A page that was there before, or that
    is empty, ends the list, whatever the server says of their number: one that counts on for ever does not keep anyone.

    Where something is put into the list while it is read, what stood at a page's end comes again on the next, and is
    left out. What moves up to a page that was read already, since something was taken out, is missed.

    Args:
        fetch: gets a page by its number.
        identity: what makes an item the same one as another; None or ``""`` where only all of it does.
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
            return  # beyond the last page: what that answers is not documented
        names: list[Hashable] = [identity(item) or item for item in page.items]
        # Their hash is enough to know a page again, and a list of any length is not kept.
        mark = hash(tuple(names))
        new = tuple(item for item, name in zip(page.items, names, strict=True) if name not in before)
        is_first_again = number == 1 and len(new) < len(names)
        if not is_first_again and (not new or mark in seen):
            return
        if new:
            yield new
        # By the page's number, as if the first were 1: where it is 0, one more is asked for, and is not there.
        if page.total and (number or 1) >= page.total:
            return
        seen.add(mark)
        before = before.union(names) if is_first_again else frozenset(names)
        number = 1 if number is None else number + 1


_GROWTH: Final = 1.6
_JITTER: Final = (0.8, 1.2)


async def poll_until(look: Callable[[], Awaitable[bool]], policy: APIPolicy, limit: timedelta) -> bool:
    """Look until it has come about, or for as long as `limit`, and once for no time at all; whether it has."""
    if limit <= timedelta(0):
        return await look()
    deadline = asyncio.timeout(limit.total_seconds())
    try:
        async with deadline:
            for pause in pauses(policy):
                if await look():
                    return True
                await asyncio.sleep(pause)
    except TimeoutError:
        if not deadline.expired():
            raise
    return False


def pauses(policy: APIPolicy) -> Iterator[float]:
    """Seconds to wait between two looks, without end."""
    pause, most = policy.poll_first.total_seconds(), policy.poll_most.total_seconds()
    while True:
        yield pause * random.uniform(*_JITTER)
        pause = min(pause * _GROWTH, most)
