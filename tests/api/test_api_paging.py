"""Pages of lists that are odd, or that change while they are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from truecaller_vbc import BadRequestError, BusinessNumber, Label, NotFoundError
from truecaller_vbc.api.lists import ListPage, pages
from truecaller_vbc.api.numbers import name_of

MOST_REQUESTS = 20


class Server:
    """A list that is told in pages.

    Args:
        items: of the list.
        first: what its first page is called.
        size: of a page.
        total: how many pages it says there are, from how many there are.
        beyond: what is behind the last page: nothing, 404, 400, the last page, or the first.
    """

    def __init__(
        self,
        items: str,
        *,
        first: int = 1,
        size: int = 2,
        total: Callable[[int], int | None] = lambda _: None,
        beyond: str = "nothing",
    ) -> None:
        self.items = list(items)
        self.first, self.size, self.total, self.beyond = first, size, total, beyond
        self.before: dict[int, Callable[[], object]] = {}
        self.asked: list[int | None] = []

    async def fetch(self, number: int | None) -> ListPage:
        self.asked.append(number)
        assert len(self.asked) < MOST_REQUESTS
        self.before.get(len(self.asked), list)()
        count = -(-len(self.items) // self.size)
        index = 0 if number is None else number - self.first
        if index >= count > 0:
            if self.beyond in ("404", "400"):
                raise (NotFoundError if self.beyond == "404" else BadRequestError)("no such page", status=404)
            index = {"last": count - 1, "first": 0}.get(self.beyond, index)
        items = self.items[index * self.size :][: self.size]
        return ListPage(tuple(Label(id=item) for item in items), self.total(count))

    async def read(self) -> str:
        """The whole list, one letter each."""
        return "".join([label.id async for page in pages(self.fetch, lambda label: label.id) for label in page])


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("beyond", ["nothing", "404", "400", "last", "first"])
@pytest.mark.parametrize("items", ["", "a", "ab", "abc", "abcd", "abcdefg"])
@pytest.mark.parametrize("total", [lambda _: None, lambda count: count, lambda _: 0, lambda _: 999], ids="-=0+")
async def test_every_item_once(first: int, beyond: str, items: str, total: Callable[[int], int | None]) -> None:
    """Whatever the first page is called, the last one is followed by, and the server says of their number."""
    server = Server(items, first=first, beyond=beyond, total=total)

    assert await server.read() == items
    assert len(server.asked) <= -(-len(items) // 2) + 3


async def test_the_number_of_pages_saves_requests() -> None:
    """Where it is honest, nobody looks behind the last page."""
    server = Server("abcdef", total=lambda count: count)
    await server.read()
    assert server.asked == [None, 1, 2, 3]
    server = Server("ab", total=lambda count: count)
    await server.read()
    assert server.asked == [None]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("at", range(2, 6))
@pytest.mark.parametrize("total", [lambda _: None, lambda count: count], ids="-=")
async def test_what_is_put_in_doubles_nothing(first: int, at: int, total: Callable[[int], int | None]) -> None:
    """In front, before any of the requests: all that was there from the beginning is told once."""
    server = Server("abcdef", first=first, total=total)
    server.before[at] = lambda: server.items.insert(0, "+")

    assert (await server.read()).replace("+", "") == "abcdef"


async def test_what_is_taken_out_before_the_first_page_comes_again() -> None:
    """The only removal that need not be missed: the page is read twice."""
    server = Server("abcdef", total=lambda count: count)
    server.before[2] = lambda: server.items.remove("a")
    assert await server.read() == "abcdef"
    server = Server("abc", size=1, total=lambda count: count)
    server.before[2] = lambda: server.items.remove("a")
    assert await server.read() == "abc"


async def test_a_server_that_knows_no_pages() -> None:
    """It gives the same list each time, in whatever order."""
    server = Server("abcdef", size=6, beyond="first")
    for request in range(2, MOST_REQUESTS):
        server.before[request] = lambda: server.items.append(server.items.pop(0))
    assert await server.read() == "abcdef"
    assert server.asked == [None, 1, 2]


async def test_an_error_of_the_first_page_is_one() -> None:
    """It says nothing of where the list ends."""

    async def fetch(_: int | None) -> ListPage:
        raise NotFoundError("no such account", status=404)

    with pytest.raises(NotFoundError):
        await anext(pages(fetch, lambda label: label.id))


def told(*given: list[Label]) -> Callable[[int | None], Awaitable[ListPage]]:
    """These pages, the first of which is 1."""

    async def fetch(number: int | None) -> ListPage:
        index = (number or 1) - 1
        return ListPage(tuple(given[index]) if index < len(given) else ())

    return fetch


async def test_items_without_an_id() -> None:
    """All of what they have tells one from another."""
    first, second = [Label(name="a"), Label(name="b")], [Label(name="c"), Label(name="d")]
    found = [page async for page in pages(told(first, second), lambda label: label.id)]

    assert found == [tuple(first), tuple(second)]


def test_a_number_is_one_of_its_feature_set() -> None:
    """The same number elsewhere is another entry; without a number there is nothing to know it by."""
    number = BusinessNumber(phone_number="+911234567890", feature_set_name="a")

    assert name_of(number) == name_of(BusinessNumber(phone_number="+911234567890", feature_set_name="a", status=None))  # type: ignore[arg-type]
    assert name_of(number) != name_of(BusinessNumber(phone_number="+911234567890", feature_set_name="b"))
    assert not name_of(BusinessNumber(feature_set_name="a"))
