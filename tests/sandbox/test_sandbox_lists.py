"""Read labels, feature sets and numbers in pages."""

from __future__ import annotations

from typing import Any

import pytest

from .sandbox_account import FEATURE_SET, LABEL, Client, account

NUMBERS = [f"91123456789{digit}" for digit in range(5)]


async def ids(client: Client, **query: Any) -> list[str]:
    return [label["id"] for label in (await client.send("GET", "/labels", params=query)).json]


async def sets(client: Client, **query: Any) -> list[str]:
    answer = await client.send("GET", "/number_management/feature_sets", params=query)
    return [one["id"] for one in answer.json["feature_sets"]]


async def page(client: Client, number: int) -> tuple[list[str], int]:
    body = (await client.numbers(limit=2, page=number)).json
    return [one["phone_number"] for one in body["numbers"]], body["pagination_information"]["total_page_count"]


@pytest.mark.parametrize("first", [1, 0])
async def test_pages_of_labels(first: int) -> None:
    """Pages begin at the number that the rules set, have the requested size, and end with an empty array."""
    async with account(first_page=first) as client:
        added = client.sandbox.add_label("Bakery")
        everything = await ids(client)
        assert (len(everything), LABEL in everything, everything[-1]) == (3, True, added)

        assert await ids(client, limit=2) == everything[:2]
        assert await ids(client, limit=2, page=first) == everything[:2]
        assert await ids(client, limit=2, page=first + 1) == everything[2:]
        assert await ids(client, limit=2, page=first + 2) == []


async def test_added_label_is_shown() -> None:
    """An added label has every documented field."""
    async with account() as client:
        label_id = client.sandbox.add_label("Bakery")
        *_, label = (await client.send("GET", "/labels")).json

        assert (label["id"], label["name"], label["label_type"]) == (label_id, "Bakery", "dynamic")
        assert set(label) == {
            *("id", "name", "logo_url", "category", "sub_category", "created_by_email", "created_at", "label_type")
        }


@pytest.mark.parametrize("path", ["/labels", "/number_management/feature_sets", "/number_management/numbers"])
@pytest.mark.parametrize(
    ("first", "query", "message"),
    [
        (1, {"page": "0"}, "page must be an integer of 1 or more"),
        (0, {"page": "-1"}, "page must be an integer of 0 or more"),
        (1, {"page": "one"}, "page must be an integer of 1 or more"),
        (1, {"limit": "0"}, "limit must be an integer of 1 or more"),
        (1, {"limit": ""}, "limit must be an integer of 1 or more"),
    ],
)
async def test_invalid_page(path: str, first: int, query: dict[str, str], message: str) -> None:
    """A page before the first, or one that is not a number, is invalid in each list."""
    async with account(first_page=first) as client:
        answer = await client.send("GET", path, params=query)

        assert (answer.status, answer.json) == (400, {"slug": "invalid-input", "message": message})


async def test_default_page_size() -> None:
    """Without a limit a page has the default size."""
    async with account(page_size=1) as client:
        client.sandbox.add_feature_set("other")
        await client.manage("publish", *NUMBERS)

        assert [len(await ids(client)), len(await sets(client)), len(await client.shown())] == [1, 1, 1]
        assert len(await client.shown(limit=3)) == 3


async def test_feature_sets() -> None:
    """Feature sets have the documented fields and filters, and pages without a count."""
    async with account() as client:
        other = client.sandbox.add_feature_set(name="other")
        body = (await client.send("GET", "/number_management/feature_sets")).json
        first, second = body["feature_sets"]

        assert set(body) == {"feature_sets"}
        assert (first["id"], first["name"], first["status"], first["call_me_back"]) == (
            FEATURE_SET,
            "prio1",
            "draft",
            False,
        )
        assert (second["id"], second["name"]) == (other, "other")
        assert first["client_account_id"] == client.sandbox.credentials.client_account_id
        assert await sets(client, limit=1, page=2) == [other]
        for name in ("department_id", "operation_id", "process_id"):
            assert await sets(client, **{name: second[name]}) == [other]
            assert await sets(client, **{name: "unknown"}) == []


async def test_filters_of_numbers() -> None:
    """Numbers can be filtered by feature set, department, operation and process."""
    async with account() as client:
        other = client.sandbox.add_feature_set("other")
        await client.manage("publish", NUMBERS[0])
        await client.manage("publish", NUMBERS[1], feature_set=other)
        _, second = (await client.send("GET", "/number_management/feature_sets")).json["feature_sets"]

        assert await client.shown() == NUMBERS[:2]
        for query in (
            {"feature_set_id": other},
            *({name: second[name]} for name in ("department_id", "operation_id", "process_id")),
        ):
            assert await client.shown(**query) == [NUMBERS[1]]
        assert await client.shown(feature_set_id=FEATURE_SET, department_id=second["department_id"]) == []
        assert await client.shown(feature_set_id="unknown") == []


@pytest.mark.parametrize("first", [1, 0])
async def test_page_count(first: int) -> None:
    """The number of pages is right on every page; later pages are empty."""
    async with account(first_page=first) as client:
        assert await page(client, first) == ([], 0)
        await client.manage("publish", *NUMBERS)

        assert [await page(client, first + number) for number in range(4)] == [
            (NUMBERS[:2], 3),
            (NUMBERS[2:4], 3),
            (NUMBERS[4:], 3),
            ([], 3),
        ]


async def test_missing_page_count() -> None:
    """The rules can leave out the information on pages."""
    async with account(total_page_count="missing") as client:
        await client.manage("publish", *NUMBERS)

        assert set((await client.numbers()).json) == {"numbers"}


@pytest.mark.parametrize("first", [1, 0])
async def test_endless_page_count(first: int) -> None:
    """The rules can report one page more than asked for, and repeat the last page."""
    async with account(first_page=first, total_page_count="endless") as client:
        assert await page(client, first) == ([], 2)
        await client.manage("publish", *NUMBERS)

        assert [await page(client, first + number) for number in (0, 2, 3, 9)] == [
            (NUMBERS[:2], 2),
            (NUMBERS[4:], 4),
            (NUMBERS[4:], 5),
            (NUMBERS[4:], 11),
        ]


async def test_sparse_lists() -> None:
    """In sparse lists optional values are null or missing, and empty arrays are null."""
    async with account(sparse=True) as client:
        labels = (await client.send("GET", "/labels")).json
        (feature_set,) = (await client.send("GET", "/number_management/feature_sets")).json["feature_sets"]
        nothing = await client.send("GET", "/number_management/feature_sets", params={"page": 2})
        nobody = await client.numbers()
        await client.manage("publish", NUMBERS[0])
        (number,) = (await client.numbers()).json["numbers"]

    assert [label["name"] for label in labels] == ["FlowerEra", "Flower shop"]
    assert [(label["logo_url"], "category" in label) for label in labels] == [(None, False)] * 2
    assert (feature_set["name"], feature_set["description"], "process_id" in feature_set) == ("prio1", None, False)
    assert (nothing.json, nobody.json["numbers"]) == ({"feature_sets": None}, None)
    assert (number["phone_number"], number["status"], number["phone_type"]) == (NUMBERS[0], "listed", None)
    assert "client_account_id" not in number
