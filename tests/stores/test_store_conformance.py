"""Run the conformance suite on each store, and prove that the suite detects broken stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from truecaller_vbc import FileStore, MemoryStore, RedisStore, TokenStore
from truecaller_vbc.stores.conformance import CHECKS, NewStore, check_store, older_document_is_refused

from ..redis_server import redis_url

Check = Callable[[NewStore], Awaitable[None]]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_url() as it:
        yield it


@pytest.mark.parametrize("check", CHECKS)
async def test_memory(check: Check) -> None:
    """The memory store passes each check."""
    store = MemoryStore()
    await check(lambda: store)


@pytest.mark.parametrize("check", CHECKS)
async def test_file(check: Check, tmp_path: Path) -> None:
    """The file store passes each check."""
    await check(lambda: FileStore(tmp_path / "token.json"))


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
async def test_redis(check: Check, url: str) -> None:
    """The Redis store passes each check."""
    stores: list[RedisStore] = []

    def new_store() -> RedisStore:
        stores.append(RedisStore(url))
        return stores[-1]

    await check(new_store)
    for store in stores:
        await store.close()


class Broken(MemoryStore):
    """A memory store that breaks one rule."""

    broken = ""

    async def read(self, key: str) -> str | None:
        text = await super().read(key)
        return "" if text is None and self.broken == "none" else text and text.replace("☎", self.broken or "☎")

    async def write(self, key: str, document: str) -> bool:
        if self.broken == "order":
            self._documents[key] = document
            return True
        return await super().write("one" if self.broken == "keys" else key, document)

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncIterator[bool]:
        if self.broken == "leaky":
            yield self._leased.setdefault(key, seconds) is seconds
            return
        async with super().lease(key, seconds) as granted:
            yield granted or self.broken == "generous"


@pytest.mark.parametrize("broken", ["none", "t", "order", "keys", "leaky", "generous"])
async def test_suite_can_fail(broken: str) -> None:
    """A store that breaks a rule fails with a message that names the operation."""
    store = Broken()
    store.broken = broken
    with pytest.raises(AssertionError, match=r"read|write|lease"):
        await check_store(lambda: store)


def test_all_stores_have_the_protocol(tmp_path: Path) -> None:
    """Each store passes isinstance(store, TokenStore)."""
    assert all(isinstance(store, TokenStore) for store in (MemoryStore(), FileStore(tmp_path / "t")))
    assert older_document_is_refused in CHECKS
