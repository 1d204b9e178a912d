"""Test that no answer takes more memory than its bound, nor the stream from the caller."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from truecaller_vbc import SessionClosedError, TokenEndpointError, VBCSession, transport

from .two_origins import CREDENTIALS

KIB: Final = 1024
MIB: Final = 1024 * KIB
DEAD: Final = b'{"message": "500/50011 - Failed to parse token"}'


class Answers:
    """A server whose answers are written by hand; it counts the bytes that it could send."""

    def __init__(self) -> None:
        self.sent = 0
        self.calls = 0
        self.mints = 0
        self.parts: Callable[[], AsyncGenerator[bytes]] = nothing
        self.headers: dict[str, str] = {}
        self.mint_parts: Callable[[], AsyncGenerator[bytes]] | None = None
        self.cookies: list[str] = []

    async def api(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        return await self._stream(request, 500, self.parts)

    async def token(self, request: web.Request) -> web.StreamResponse:
        self.mints += 1
        self.cookies.append(request.headers.get("Cookie", ""))
        if self.mint_parts is not None:
            return await self._stream(request, 200, self.mint_parts)
        response = web.json_response({"token": f"token{self.mints}"})
        response.set_cookie("track", "me")
        return response

    async def _stream(
        self, request: web.Request, status: int, parts: Callable[[], AsyncGenerator[bytes]]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json", **self.headers})
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            async for part in parts():
                await response.write(part)
                self.sent += len(part)
        except ConnectionError:
            if request.transport is not None:
                request.transport.abort()
        return response


async def nothing() -> AsyncGenerator[bytes]:
    """Send an empty body."""
    yield b""


async def endless() -> AsyncGenerator[bytes]:
    """Send blanks without end."""
    while True:
        yield b" " * MIB


async def tiny() -> AsyncGenerator[bytes]:
    """Send a dead token's message after many chunks of one byte."""
    for _ in range(20_000):
        yield b" "
    yield DEAD


async def bomb() -> AsyncGenerator[bytes]:
    """Send 64 MiB in 64 KiB."""
    yield gzip.compress(b" " * 64 * MIB)


async def slow() -> AsyncGenerator[bytes]:
    """Send the beginning of a body, and the rest much later."""
    yield b"{"
    await asyncio.sleep(3600)


async def broken() -> AsyncGenerator[bytes]:
    """End the connection in the middle of the body."""
    yield b"{" * 100
    raise ConnectionError


@pytest.fixture
async def answers() -> AsyncGenerator[tuple[Answers, VBCSession]]:
    """A server and a session."""
    async with _serving() as (it, url), VBCSession(CREDENTIALS, base_url=url) as vbc:
        yield it, vbc


@asynccontextmanager
async def _serving() -> AsyncGenerator[tuple[Answers, str]]:
    it = Answers()
    app = web.Application()
    app.router.add_post("/clients/account/token", it.token)
    app.router.add_get("/x", it.api)
    server = TestServer(app)
    await server.start_server(shutdown_timeout=0.0)
    try:
        yield it, str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


async def test_endless_error_is_a_stream(answers: tuple[Answers, VBCSession]) -> None:
    """A session looks at the beginning of an error, and the caller reads it from its first byte."""
    it, vbc = answers
    it.parts = endless
    async with vbc.get("/x") as response:
        assert response.status == 500
        await asyncio.sleep(0.1)
        assert it.sent <= 16 * MIB  # what the buffers of both sockets and of aiohttp hold
        assert await response.content.readexactly(3 * MIB) == b" " * 3 * MIB
    assert it.calls == 1


async def test_compressed_error_is_not_expanded(answers: tuple[Answers, VBCSession]) -> None:
    """Of a compressed error no more is expanded than aiohttp's buffer holds."""
    it, vbc = answers
    it.parts, it.headers = bomb, {"Content-Encoding": "gzip"}
    async with vbc.get("/x") as response:
        assert response.content.total_bytes <= MIB
        assert len(await response.read()) == 64 * MIB


async def test_message_after_many_chunks_is_found(answers: tuple[Answers, VBCSession]) -> None:
    """A dead token's message is found in a body of many chunks, while the loop goes on."""
    it, vbc = answers
    it.parts = tiny
    await vbc.token()
    vbc._holder.state.current.obtained_at -= 60  # type: ignore[union-attr]
    steps = 0

    async def count() -> None:
        nonlocal steps
        while True:
            await asyncio.sleep(0)
            steps += 1

    counting = asyncio.create_task(count())
    async with vbc.get("/x") as response:
        assert (await response.read()).endswith(DEAD)
    counting.cancel()
    assert steps > 20_000 / 4096
    assert (it.calls, it.mints) == (2, 2)


async def test_message_is_left_in_the_body(answers: tuple[Answers, VBCSession]) -> None:
    """The caller gets the whole body of an error, read in any way."""
    it, vbc = answers
    it.parts = tiny
    async with vbc.get("/x") as response:
        assert len(await response.read()) == 20_000 + len(DEAD)
    async with vbc.get("/x") as response:
        assert await response.json() == {"message": "500/50011 - Failed to parse token"}
    async with vbc.get("/x") as response:
        assert sum([len(part) async for part, _ in response.content.iter_chunks()]) == 20_000 + len(DEAD)


async def test_slow_error_is_not_waited_for(
    answers: tuple[Answers, VBCSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error whose body does not come is given to the caller, with what has come."""
    monkeypatch.setattr(transport, "_MAX_LOOK", 0.05)
    it, vbc = answers
    it.parts = slow
    async with vbc.get("/x") as response:
        assert await response.content.read(1) == b"{"


async def test_error_that_breaks_off_is_the_callers(answers: tuple[Answers, VBCSession]) -> None:
    """An error whose body breaks off has a status; reading the body raises aiohttp's error."""
    it, vbc = answers
    it.parts = broken
    async with vbc.get("/x") as response:
        assert response.status == 500
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    assert it.calls == 1


@pytest.mark.parametrize("as_middleware", [False, True])
async def test_cancelled_caller_leaves_no_connection(*, as_middleware: bool) -> None:
    """A caller that is cancelled while its session looks at an error gives the connection back at once."""
    async with _serving() as (it, url), aiohttp.ClientSession() as http:
        it.parts = slow
        async with VBCSession(CREDENTIALS, base_url=url, http=http) as vbc:
            request = http.get(f"{url}/x", middlewares=(vbc.auth,)) if as_middleware else vbc.get("/x")
            call = asyncio.ensure_future(request)
            while not it.sent:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

            assert http.connector is not None
            assert not http.connector._acquired


async def test_session_closed_while_an_error_is_read(answers: tuple[Answers, VBCSession]) -> None:
    """A session that is closed while it looks at an error says so, where aiohttp raises a RuntimeError."""
    it, vbc = answers
    it.parts = slow
    async with aiohttp.ClientSession() as http:

        async def close(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            response = await send(request)
            await http.close()
            return response

        with pytest.raises(SessionClosedError, match="make a new VBCSession"):
            await http.get(vbc._transport.url("/x"), middlewares=(vbc.auth, close))


@pytest.mark.parametrize("parts", [endless, bomb])
async def test_mint_reads_64_kib(parts: Any) -> None:
    """Of a token answer no more than 64 KiB are read, whatever its form."""
    async with _serving() as (it, url):
        it.mint_parts, it.headers = parts, {"Content-Encoding": "gzip"} if parts is bomb else {}
        async with VBCSession(CREDENTIALS, base_url=url) as vbc:
            with pytest.raises(TokenEndpointError, match="without a token"):
                await vbc.token()
        assert it.sent <= 16 * MIB


async def test_mint_has_no_cookies() -> None:
    """A token request sends no cookie of the user's session, and leaves none there."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with _serving() as (it, url), aiohttp.ClientSession(cookie_jar=jar, headers={"Cookie": "a=b"}) as http:
        jar.update_cookies({"mine": "1"}, http._build_url(url))
        async with VBCSession(CREDENTIALS, base_url=url, http=http) as vbc:
            await vbc.token()
        assert it.cookies == [""]
        assert {cookie.key for cookie in jar} == {"mine"}
