"""The token request does not wait for API calls; in a full pool of the user it fails without being counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from truecaller_vbc import TokenEndpointError, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.token.endpoint import pool_is_full

from ..requests.two_origins import CREDENTIALS

HASTY = attrs.evolve(TokenPolicy(), mint_timeout=timedelta(seconds=0.4))
AIOHTTPS_LIMIT = 100


class _SteppedClock:
    """The machine's clock plus the time that a test adds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.monotonic() + self.ahead

    def wall(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@asynccontextmanager
async def _hanging(sandbox: Sandbox, http: aiohttp.ClientSession | VBCSession, calls: int) -> AsyncIterator[None]:
    """Keep so many connections in use by calls whose answers do not end."""
    sandbox.fail_next("api", times=calls, status=200, body=b"x" * 1000, slow=600.0)
    path = "/slow" if isinstance(http, VBCSession) else f"{sandbox.base_url}/slow"
    async with AsyncExitStack() as stack, asyncio.timeout(20):
        for _ in range(calls):
            await stack.enter_async_context(http.get(path))
        yield


async def test_mint_waits_for_no_api_call(sandbox: Sandbox) -> None:
    """A token is minted while slow calls use every connection of the session."""
    clock = _SteppedClock()
    async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=HASTY, clock=clock) as vbc:
        first = await vbc.token()
        async with _hanging(sandbox, vbc, AIOHTTPS_LIMIT):
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await vbc.get("/one-too-many", timeout=aiohttp.ClientTimeout(connect=0.05))
            clock.ahead = 3600.0
            vbc._holder._clear_fast_token()

            assert (await vbc.token()).value != first.value
        assert vbc.status().mints_in_window == 1
    assert sandbox.mints == 2


async def test_mint_leaves_no_connection_behind() -> None:
    """The connection of a mint is closed before the token is returned."""
    transports: list[asyncio.Transport | None] = []

    async def handler(request: web.Request) -> web.Response:
        transports.append(request.transport)
        return web.json_response({"token": f"{len(transports)}" * 64})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server, VBCSession(CREDENTIALS, base_url=str(server.make_url(""))) as vbc:
        await vbc.token()
        async with asyncio.timeout(5), vbc.get("/") as response:
            assert response.status == 200
            mint, call = transports
            assert mint is not None
            while not mint.is_closing():
                await asyncio.sleep(0.001)
        assert mint is not call


@pytest.mark.slow
@pytest.mark.parametrize("limits", [{"limit": 2}, {"limit_per_host": 2}])
async def test_pool_of_http_without_a_free_connection(sandbox: Sandbox, limits: dict[str, Any]) -> None:
    """If the pool of http= is full, the error says which limit to raise, and the attempt is not counted."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(**limits)) as http,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http, policy=HASTY) as vbc,
    ):
        async with _hanging(sandbox, http, 2):
            with pytest.raises(TokenEndpointError, match=r"no connection free in its pool \(.*raise it") as caught:
                await vbc.token()
            assert f"{next(iter(limits))}=2" in str(caught.value)
            assert vbc.status().mints_in_window == 0
            assert [entry.outcome for entry in vbc.ledger()] == ["unsent"]
        assert sandbox.token_requests == 0

        async with asyncio.timeout(20):
            while True:
                try:
                    await vbc.token()
                except TokenEndpointError:
                    await asyncio.sleep(0.05)
                else:
                    break
    assert sandbox.mints == 1


@pytest.mark.slow
async def test_host_that_does_not_answer_is_not_a_full_pool(silent_url: str) -> None:
    """A server that accepts no connections is not reported as a full pool."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http,
        VBCSession(CREDENTIALS, base_url=silent_url, http=http, policy=HASTY) as vbc,
    ):
        with pytest.raises(TokenEndpointError, match=r"could not be reached \(ConnectionTimeoutError\)"):
            await vbc.token()
        assert vbc.status().mints_in_window == 0


async def test_asking_the_pool_leaves_no_trace(sandbox: Sandbox) -> None:
    """The check of the pool sends, opens and keeps nothing, whether a connection is idle, possible or missing."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as http:
        url = URL(sandbox.base_url)
        assert await pool_is_full(http, url) is None
        async with http.get(f"{sandbox.base_url}/rests"):
            pass
        assert await pool_is_full(http, url) is None
        async with _hanging(sandbox, http, 1):
            assert await pool_is_full(http, url) is http.connector
        async with http.get(f"{sandbox.base_url}/still-works"):
            pass
        assert not http.closed
    assert await pool_is_full(http, url) is None
    assert {record.method for record in sandbox.log} == {"GET"}
