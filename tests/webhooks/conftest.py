"""Fixtures of the tests of webhooks: places for claims."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from truecaller_vbc.webhooks import MemoryClaims, RedisClaims, SQLiteClaims

from ..redis_server import redis_url


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    with redis_url() as url:
        yield url


@pytest.fixture(params=["memory", "file", "redis"])
async def new_claims(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """A function that opens claims at one place, with the options given."""
    opened: list[Any] = []
    name = uuid.uuid4().hex

    def new(**options: Any) -> Any:
        if request.param == "memory":
            claims: Any = MemoryClaims(**options)
        elif request.param == "file":
            claims = SQLiteClaims(tmp_path / "claims" / "claims.db", **options)
        else:
            claims = RedisClaims(request.getfixturevalue("redis"), prefix=name, **options)
        opened.append(claims)
        return claims

    yield new
    for claims in opened:
        await claims.close()


@pytest.fixture(params=["file", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A function that opens durable claims, all at the same place."""
    name = uuid.uuid4().hex
    if request.param == "file":
        return lambda **options: SQLiteClaims(tmp_path / "claims.db", **options)
    url = request.getfixturevalue("redis")
    return lambda **options: RedisClaims(url, prefix=name, **options)
