"""Test lists whose pages are irregular, or that change while they are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from truecaller_vbc import APIError, BadRequestError, BusinessNumber, Label, NotFoundError
from truecaller_vbc.api.lists import Fetch, ListPage, Numbering, pages
from truecaller_vbc.api.numbers import name_of

MOST_REQUESTS = 20


class Server:
    """A list that is fetch_from in pages.

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
        """Return the whole list, one letter for each item."""
        return "".join([label.id async for page in pages(self.fetch, lambda label: label.id) for label in page])


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("beyond", ["nothing", "404", "400", "last", "first"])
@pytest.mark.parametrize("items", ["", "a", "ab", "abc", "abcd", "abcdefg"])
@pytest.mark.parametrize("total", [lambda _: None, lambda count: count, lambda _: 0, lambda _: 999], ids="-=0+")
async def test_every_item_once(first: int, beyond: str, items: str, total: Callable[[int], int | None]) -> None:
    """Each item comes once, whatever the first page's number, the answer beyond the last page and the stated total.

    Only a page that exists by the stated total, and that is refused, raises.
    """
    server = Server(items, first=first, beyond=beyond, total=total)
    found: list[str] = []
    try:
        async for page in pages(server.fetch, lambda label: label.id):
            found += [label.id for label in page]
    except (NotFoundError, BadRequestError):
        assert beyond in ("404", "400")
        assert total(0) == 999
    assert "".join(found) == items
    assert len(server.asked) <= -(-len(items) // 2) + (4 if total(0) == 999 else 3)


async def test_correct_total_saves_a_request() -> None:
    """With a correct total there is not a request beyond the last page."""
    server = Server("abcdef", total=lambda count: count)
    await server.read()
    assert server.asked == [None, 1, 2, 3]
    server = Server("ab", total=lambda count: count)
    await server.read()
    assert server.asked == [None]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("at", range(2, 6))
@pytest.mark.parametrize("total", [lambda _: None, lambda count: count], ids="-=")
async def test_inserted_item_causes_no_duplicates(first: int, at: int, total: Callable[[int], int | None]) -> None:
    """If an item is inserted before any request, each original item comes once."""
    server = Server("abcdef", first=first, total=total)
    server.before[at] = lambda: server.items.insert(0, "+")

    assert (await server.read()).replace("+", "") == "abcdef"


async def test_item_removed_before_the_second_request() -> None:
    """If an item is removed before the first page is read a second time, no item is missed."""
    server = Server("abcdef", total=lambda count: count)
    server.before[2] = lambda: server.items.remove("a")
    assert await server.read() == "abcdef"
    server = Server("abc", size=1, total=lambda count: count)
    server.before[2] = lambda: server.items.remove("a")
    assert await server.read() == "abc"


async def test_server_without_pages() -> None:
    """A server that returns the whole list each time, in any order, is read with three requests."""
    server = Server("abcdef", size=6, beyond="first")
    for request in range(2, MOST_REQUESTS):
        server.before[request] = lambda: server.items.append(server.items.pop(0))
    assert await server.read() == "abcdef"
    assert server.asked == [None, 1, 2]


async def test_error_of_the_first_page_is_raised() -> None:
    """A NotFoundError of the first page is raised, since it does not mark the end of the list."""

    async def fetch(_: int | None) -> ListPage:
        raise NotFoundError("no such account", status=404)

    with pytest.raises(NotFoundError):
        await anext(pages(fetch, lambda label: label.id))


def fetch_from(*given: list[Label]) -> Callable[[int | None], Awaitable[ListPage]]:
    """Return a fetch function for these pages, counted from 1."""

    async def fetch(number: int | None) -> ListPage:
        index = (number or 1) - 1
        return ListPage(tuple(given[index]) if index < len(given) else ())

    return fetch


async def test_items_without_an_id() -> None:
    """Items without an ID are compared by all of their fields."""
    first, second = [Label(name="a"), Label(name="b")], [Label(name="c"), Label(name="d")]
    found = [page async for page in pages(fetch_from(first, second), lambda label: label.id)]

    assert found == [tuple(first), tuple(second)]


def numbered(*given: Any, total: int | None = None) -> tuple[Fetch, list[int | None]]:
    """Return a fetch function for pages counted from 1, of letters or errors, and the list of its requests."""
    asked: list[int | None] = []

    async def fetch(number: int | None) -> ListPage:
        asked.append(number)
        index = (number or 1) - 1
        page = given[index] if index < len(given) else ""
        if isinstance(page, Exception):
            raise page
        return ListPage(tuple(Label(id=item) for item in page), total)

    return fetch, asked


async def read(fetch: Any, numbering: Numbering | None = None) -> str:
    """Return the whole list, one letter for each item."""
    return "".join([label.id async for page in pages(fetch, lambda label: label.id, numbering) for label in page])


@pytest.mark.parametrize("refusal", [BadRequestError, NotFoundError])
@pytest.mark.parametrize("total", [4, None])
async def test_refused_page_in_the_middle(refusal: type[APIError], total: int | None) -> None:
    """A page that is refused although the list goes on raises its error after the pages before it."""
    fetch, _ = numbered("ab", "cd", refusal("limit too high", status=400), "ef", total=total)
    found = pages(fetch, lambda label: label.id)
    assert [label.id for label in (*await anext(found), *await anext(found))] == ["a", "b", "c", "d"]
    with pytest.raises(refusal):
        await anext(found)


async def test_empty_page_in_the_middle() -> None:
    """An empty page does not end a list whose first page states more pages."""
    fetch, asked = numbered("ab", "", "cd", total=3)
    assert await read(fetch) == "abcd"
    assert asked == [None, 1, 2, 3]


async def test_three_pages_without_news_end_the_list() -> None:
    """A wrong total cannot cause an endless loop."""
    fetch, asked = numbered("ab", "", "", "", "cd", total=99)
    assert await read(fetch) == "ab"
    assert asked == [None, 1, 2, 3, 4]


async def test_item_that_comes_back_pages_later() -> None:
    """An item is yielded once, however far apart its pages are."""
    fetch, _ = numbered("ab", "cd", "ef", "ga", total=4)
    assert await read(fetch) == "abcdefg"


async def test_number_of_the_first_page_is_learnt_once() -> None:
    """The second list of a session does not ask for page 1."""
    numbering = Numbering()
    fetch, asked = numbered("ab")
    assert await read(fetch, numbering) == "ab"
    assert asked == [None, 1, 2]
    assert numbering.first == 1
    assert await read(fetch, numbering) == "ab"
    assert asked == [None, 1, 2, None, 2]


async def test_last_page_counted_from_0() -> None:
    """If the first page is 0, the last one is the total minus 1."""
    server = Server("abcdef", first=0, total=lambda count: count)
    assert await server.read() == "abcdef"
    assert server.asked == [None, 1, 2]


@pytest.mark.parametrize("item", ["a", "b"])
async def test_single_item_does_not_tell_the_first_number(item: str) -> None:
    """A page of one item may have moved, so nothing is learnt from it."""
    numbering = Numbering()
    fetch, _ = numbered(item, "c")
    await read(fetch, numbering)
    assert numbering.first is None


def test_identity_of_a_number() -> None:
    """A number is identified by itself and its feature set; an entry without a number has no identity."""
    number = BusinessNumber(phone_number="+911234567890", feature_set_name="a")

    assert name_of(number) == name_of(BusinessNumber(phone_number="+911234567890", feature_set_name="a", status=None))  # type: ignore[arg-type]
    assert name_of(number) != name_of(BusinessNumber(phone_number="+911234567890", feature_set_name="b"))
    assert not name_of(BusinessNumber(feature_set_name="a"))


@pytest.mark.parametrize(("far", "total"), [(404, 4), (404, 3), (400, None)])
async def test_refused_page_that_must_exist(far: int, total: int | None) -> None:
    """The error is raised if a total says that the page exists, or if a far page is refused in another way."""

    async def fetch(number: int | None) -> ListPage:
        if (number or 1) > 2:
            raise NotFoundError("no such page", status=404 if number == 3 else far)
        return ListPage(tuple(Label(id=item) for item in ("ab", "cd")[(number or 1) - 1]), total)

    found = pages(fetch, lambda label: label.id)
    assert [len(await anext(found)) for _ in range(2)] == [2, 2]
    with pytest.raises(NotFoundError):
        await anext(found)


def listed(pages_of: dict[int | None, tuple[str, int | None]], refusal: APIError) -> Fetch:
    """Return a fetch function for these pages, with their items and totals; other pages are refused."""

    async def fetch(number: int | None) -> ListPage:
        if number not in pages_of:
            raise refusal
        items, total = pages_of[number]
        return ListPage(tuple(Label(id=item) for item in items), total)

    return fetch


@pytest.mark.parametrize("refusal", [BadRequestError, NotFoundError])
async def test_last_page_counted_from_0_with_single_items(refusal: type[APIError]) -> None:
    """Pages of one item do not tell the first number: the page with the number of the total may not exist."""
    fetch = listed({None: ("a", 3), 0: ("a", 3), 1: ("b", 3), 2: ("c", 3)}, refusal("no such page", status=400))
    assert await read(fetch) == "abc"


@pytest.mark.parametrize("later", [4, None])
async def test_refused_page_with_a_number_below_the_total(later: int | None) -> None:
    """A page below the total exists, however the pages are counted, and if only the first page stated the total."""
    fetch = listed({None: ("a", 4), 1: ("b", later)}, NotFoundError("no such page", status=404))
    found = pages(fetch, lambda label: label.id)
    assert [len(await anext(found)) for _ in range(2)] == [1, 1]
    with pytest.raises(NotFoundError):
        await anext(found)
