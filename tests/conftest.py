"""What tests of several folders need."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import aioresponses.core
import pytest
from two_origins import CREDENTIALS, NO_GRACE, Origin, origin

from truecaller_vbc import VBCSession


class _Response(aiohttp.ClientResponse):
    """aioresponses 0.7.9 does not know the `stream_writer` that aiohttp >= 3.14 wants (its issue 289).

    To be deleted, with the fixture below, as soon as an aioresponses without that issue is required.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture(autouse=True)
def _aioresponses_on_new_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    if tuple(map(int, aiohttp.__version__.split(".")[:2])) >= (3, 14):
        monkeypatch.setattr(aioresponses.core, "ClientResponse", _Response)


@pytest.fixture
async def api() -> AsyncIterator[Origin]:
    async with origin() as it:
        yield it


@pytest.fixture
async def other() -> AsyncIterator[Origin]:
    async with origin() as it:
        yield it


@pytest.fixture
async def vbc(api: Origin) -> AsyncIterator[VBCSession]:
    async with VBCSession(CREDENTIALS, base_url=api.url, policy=NO_GRACE) as session:
        yield session
