"""Fixtures that tests of several folders use."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import aiohttp
import aioresponses.core
import pytest
from hypothesis import HealthCheck, settings

from truecaller_vbc import VBCSession

from .requests.two_origins import CREDENTIALS, NO_GRACE, Origin, origin

# The first example builds tables of characters, which is slow on a busy machine and says nothing about the tests.
settings.register_profile("suite", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("suite")


def pytest_configure() -> None:
    """Let child processes start with SIGINT at its default, even if this process ignores it, as under nohup.

    Ignored signals are inherited by children; handlers are not.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)


class _Response(aiohttp.ClientResponse):
    """Accept the missing `stream_writer` that aiohttp >= 3.14 requires (aioresponses issue 289).

    Delete this class and the fixture below once an aioresponses with the fix is required.
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


@pytest.fixture
async def silent_url() -> AsyncIterator[str]:
    """Return the URL of a listener whose backlog is full: it neither refuses nor accepts connections."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
