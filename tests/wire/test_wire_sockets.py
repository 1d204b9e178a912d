"""The token request on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import aiohttp
import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from truecaller_vbc import Credentials, TokenEndpointError, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox

CREDENTIALS = Credentials("account", "key", "secret")
HASTY = attrs.evolve(TokenPolicy(), mint_timeout=timedelta(seconds=0.4))


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


async def _fails(base_url: str, *, counted: int, match: str, **options: object) -> None:
    async with VBCSession(CREDENTIALS, base_url=base_url, policy=HASTY, **options) as vbc:  # type: ignore[arg-type]
        with pytest.raises(TokenEndpointError, match=match):
            await vbc.token()
        assert vbc.status().mints_in_window == counted


async def test_refused() -> None:
    """A refused connection is not counted, because nothing was sent."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    await _fails(f"http://127.0.0.1:{port}", counted=0, match="could not be reached")


async def test_unknown_host() -> None:
    """A host name that cannot be resolved is not counted."""
    await _fails("https://nowhere.invalid", counted=0, match="could not be reached")


async def test_tls_to_a_port_without_it(sandbox: Sandbox) -> None:
    """A failed TLS handshake is not counted, because the API key was not sent."""
    await _fails(sandbox.base_url.replace("http", "https"), counted=0, match="could not be reached")


@pytest.mark.slow
async def test_hung_before_the_connection_came_about(silent_url: str) -> None:
    """A connection that is not accepted times out before the deadline and is not counted."""
    await _fails(silent_url, counted=0, match="could not be reached")


@pytest.mark.slow
async def test_hung_after_sending(sandbox: Sandbox) -> None:
    """A request without an answer ends at `mint_timeout` and counts."""
    sandbox.fail_next("token", delay=float("inf"))
    await _fails_at(sandbox, match="did not answer within 0.4 s", counted=1)


async def test_dropped_after_sending(sandbox: Sandbox) -> None:
    """A lost connection counts, because the server may have made a token."""
    for drop in ("before", "mid", "after"):
        sandbox.fail_next("token", drop=drop)
        await _fails_at(sandbox, match="lost the connection", counted=1)


@pytest.mark.slow
async def test_slow_body(sandbox: Sandbox) -> None:
    """A body that is incomplete at the deadline counts as lost."""
    sandbox.fail_next("token", slow=5.0)
    await _fails_at(sandbox, match="did not answer", counted=1)


async def test_huge_body(sandbox: Sandbox) -> None:
    """A body over 64 KiB counts as lost with a 2xx; with another status the status decides."""
    sandbox.fail_next("token", status=200, body=b"x" * 1_000_000)
    await _fails_at(sandbox, match="without a token", counted=1)
    sandbox.fail_next("token", status=503, body=b"x" * 1_000_000)
    await _fails_at(sandbox, match="HTTP 503", counted=0)


@pytest.mark.parametrize("more", [0, 1])
async def test_body_of_just_64_kib(sandbox: Sandbox, more: int) -> None:
    """A body of 64 KiB is read, and one with a byte more counts as lost."""
    body = b'{"token": "%s"}' % (b"a" * 64)
    sandbox.fail_next("token", status=200, body=body + b" " * (64 * 1024 - len(body) + more))
    if more == 0:
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc:
            assert (await vbc.token()).value == "a" * 64
    else:
        await _fails_at(sandbox, match="without a token", counted=1)


async def test_failure_whose_body_breaks_off(sandbox: Sandbox) -> None:
    """With an error status an incomplete body does not matter."""
    sandbox.fail_next("token", status=503, body=b"x" * 1000, drop="mid")
    await _fails_at(sandbox, match="HTTP 503", counted=0)


async def test_html(sandbox: Sandbox) -> None:
    """A page with status 200 but without a token gives a TokenEndpointError."""
    sandbox.fail_next("token", status=200, body="<html>", content_type="text/html")
    await _fails_at(sandbox, match="without a token", counted=1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_never_followed(sandbox: Sandbox, status: int) -> None:
    """A redirect is not followed, so that the API key is sent to one host only."""
    async with _Elsewhere() as elsewhere:
        sandbox.fail_next("token", status=status, headers={"Location": str(elsewhere.server.make_url("/token"))})
        await _fails_at(sandbox, match=f"HTTP {status}", counted=0)

    assert elsewhere.requests == 0


async def test_gzip_is_understood() -> None:
    """A compressed answer is read even if the user's session does not decompress."""

    async def handler(request: web.Request) -> web.Response:
        response = web.json_response({"token": "a" * 64})
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with _serving(handler) as server, aiohttp.ClientSession(auto_decompress=False) as http:
        async with VBCSession(CREDENTIALS, base_url=str(server.make_url("")), http=http) as vbc:
            await vbc.token()


async def test_foreign_session_adds_nothing() -> None:
    """Settings of http= (Authorization, middlewares, timeout, status checks, base URL) do not affect the request."""
    seen: list[web.Request] = []
    bodies: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        bodies.append(await request.json())
        await asyncio.sleep(0.05)
        return web.json_response({"token": "a" * 64}, status=201)

    async def forbidden(request: aiohttp.ClientRequest, call: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise AssertionError("a middleware saw the mint")

    async with (
        _serving(handler) as server,
        aiohttp.ClientSession(
            headers={"Authorization": "Basic other", "Content-Type": "text/plain"},
            middlewares=(forbidden,),
            timeout=aiohttp.ClientTimeout(total=0.001),
            raise_for_status=True,
            base_url="https://elsewhere.invalid",
            json_serialize=lambda _: "not JSON",
        ) as http,
        VBCSession(CREDENTIALS, base_url=str(server.make_url("")), http=http) as vbc,
    ):
        await vbc.token()

    assert "Authorization" not in seen[0].headers
    assert seen[0].headers["X-Public-Access"] == "allow"
    assert seen[0].content_type == "application/json"
    assert bodies == [{"key_id": "key", "api_key": "secret"}]


async def test_mint_does_not_call_back_into_the_middleware(sandbox: Sandbox) -> None:
    """Mints work in a session that has `vbc.auth` as its middleware."""
    auth: list[aiohttp.ClientMiddlewareType] = []

    async def late(request: aiohttp.ClientRequest, call: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        return await auth[0](request, call)

    async with (
        aiohttp.ClientSession(middlewares=(late,)) as http,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http) as vbc,
    ):
        auth.append(vbc.auth)
        async with http.get(f"{sandbox.base_url}/clients/{vbc.client_account_id}/labels") as response:
            assert response.status == 200
        async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
            assert response.status == 200

    assert sandbox.mints == 1


async def test_foreign_session_that_was_closed(sandbox: Sandbox) -> None:
    """If http= is closed, the error says what to keep open, and the attempt is not counted."""
    async with aiohttp.ClientSession() as http:
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http) as vbc:
            await http.close()
            with pytest.raises(TokenEndpointError, match="session is closed"):
                await vbc.token()
            assert vbc.status().mints_in_window == 0


async def _fails_at(sandbox: Sandbox, *, match: str, counted: int) -> None:
    policy = HASTY
    async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=policy) as vbc:
        with pytest.raises(TokenEndpointError, match=match):
            await vbc.token()
        assert vbc.status().mints_in_window == counted


class _serving:  # noqa: N801 - reads as what it does
    """Run a server with one handler for all requests."""

    def __init__(self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        self._server = TestServer(app)

    async def __aenter__(self) -> TestServer:
        await self._server.start_server()
        return self._server

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()


class _Elsewhere:
    """Another origin, which should receive no request."""

    def __init__(self) -> None:
        self.requests = 0
        self._serving = _serving(self._handle)

    async def _handle(self, request: web.Request) -> web.Response:
        self.requests += 1
        return web.json_response({"token": "a" * 64})

    async def __aenter__(self) -> _Elsewhere:
        self.server = await self._serving.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._serving.__aexit__(*error)
