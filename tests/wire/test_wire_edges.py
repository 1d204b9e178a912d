"""The token request and its surroundings (~/.netrc, time zones, invalid and endless answers)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import attrs
import pytest

from truecaller_vbc import (
    Credentials,
    CredentialsRejectedError,
    TokenEndpointError,
    TokenError,
    TokenPolicy,
    VBCSession,
)
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.token.endpoint import classify_answer

from ..requests.two_origins import CREDENTIALS

HASTY = attrs.evolve(TokenPolicy(), mint_timeout=timedelta(seconds=0.3))
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _speaking(talk: Talk) -> AsyncIterator[str]:
    """A server that reads one request and sends an answer that no HTTP library would."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line.split(b":")[1] for line in head.splitlines() if line.lower().startswith(b"content-length")]
            await reader.readexactly(int(lengths[0]))
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def _error_of(vbc: VBCSession) -> TokenEndpointError:
    async with asyncio.timeout(5):
        with pytest.raises(TokenEndpointError) as caught:
            await vbc.token()
    return caught.value


async def test_netrc_does_not_authorize_the_mint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token request is sent without the ~/.netrc entry that a session with trust_env finds."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login some password one\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with (
        Sandbox() as sandbox,
        aiohttp.ClientSession(trust_env=True) as http,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http) as vbc,
    ):
        await vbc.token()
        async with http.get(f"{sandbox.base_url}/elsewhere"):
            pass

    # The second one shows that the file is read at all.
    assert [record.has_authorization for record in sandbox.log] == [False, True]


async def test_values_that_need_escaping_arrive_as_they_are() -> None:
    """Quotes, backslashes and non-ASCII letters in a key are sent correctly in the JSON body."""
    credentials = Credentials("account_1-A", 'k"ey\\', "sécret-☎")
    async with (
        Sandbox(credentials=credentials) as sandbox,
        VBCSession(credentials, base_url=sandbox.base_url) as vbc,
    ):
        await vbc.token()

    assert sandbox.mints == 1


async def test_endless_answer_is_left_after_64_kib() -> None:
    """At most 64 KiB are read, so an endless answer fails early, not at the deadline."""
    left = asyncio.Event()

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"400\r\n" + b" " * 1024 + b"\r\n")
                await writer.drain()
        finally:
            left.set()

    async with _speaking(endless) as url, VBCSession(CREDENTIALS, base_url=url, policy=HASTY) as vbc:
        assert "HTTP 200 without a token" in str(await _error_of(vbc))
        assert vbc.status().mints_in_window == 1
        async with asyncio.timeout(5):
            await left.wait()


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"\0" * 100, b""])
async def test_what_is_no_http_counts(answer: bytes) -> None:
    """An answer that is not HTTP counts, because the request was sent."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with _speaking(babble) as url, VBCSession(CREDENTIALS, base_url=url, policy=HASTY) as vbc:
        await _error_of(vbc)
        assert vbc.status().mints_in_window == 1


async def test_head_of_a_megabyte_counts() -> None:
    """An answer with a head that is too long gives a TokenEndpointError."""

    async def long_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_000_000 + b"\r\n\r\n")
        await writer.drain()

    async with _speaking(long_head) as url, VBCSession(CREDENTIALS, base_url=url, policy=HASTY) as vbc:
        await _error_of(vbc)
        assert vbc.status().mints_in_window == 1


async def test_remembered_failure_keeps_no_frames() -> None:
    """The errors in the chain of a remembered failure keep no frames."""

    async def drop(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        return

    async with _speaking(drop) as url, VBCSession(CREDENTIALS, base_url=url, policy=HASTY) as vbc:
        shared = (await _error_of(vbc)).__cause__
        assert isinstance(shared, TokenError)
        cause = shared.__cause__
        assert isinstance(cause, aiohttp.ClientError)
        link: BaseException | None = shared
        while link is not None:
            assert link.__traceback__ is None
            link = link.__cause__ or link.__context__


@pytest.fixture
def in_india(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a local time zone that is not UTC."""
    monkeypatch.setenv("TZ", "IST-5:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "stamp", ["2026-11-24T08:59:58.72Z", "2026-11-24T08:59:58.72", "2026-11-24T14:29:58.720+05:30"]
)
@pytest.mark.usefixtures("in_india")
def test_stamp_without_a_zone_is_utc(stamp: str) -> None:
    """The local time zone changes neither created_at nor the age of a token."""
    body = json.dumps({"token": "a" * 64, "created_at": stamp}).encode()
    for date in ("Tue, 24 Nov 2026 09:00:00 GMT", "Tue, 24 Nov 2026 09:00:00"):
        grant = classify_answer(200, {"Date": date}, body).result

        assert grant is not None
        assert grant.created_at == datetime(2026, 11, 24, 8, 59, 58, 720_000, tzinfo=UTC)
        assert grant.created_at.tzinfo is UTC
        assert grant.age == pytest.approx(1.28)


def test_age_is_never_negative() -> None:
    """A created_at in the future gives an age of zero."""
    body = json.dumps({"token": "a" * 64, "created_at": "2026-11-24T09:10:00Z"}).encode()
    grant = classify_answer(200, {"Date": "Tue, 24 Nov 2026 09:00:00 GMT"}, body).result

    assert grant is not None
    assert grant.age == 0


@pytest.mark.parametrize("payload", [{"field": "limit", "message": "no"}, {"limit": "quota"}, "quota", ["limit"]])
def test_only_slug_and_message_speak_of_a_limit(payload: object) -> None:
    """Only slug and message are searched for a limit, not the rest of the body."""
    answer = classify_answer(403, {}, json.dumps(payload).encode())

    assert type(answer.error) is CredentialsRejectedError
