"""Requests with special bodies, time limits and sessions of the user."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aioresponses import aioresponses
from blockbuster import blockbuster_ctx

from truecaller_vbc import ConfigurationError, SessionClosedError, VBCSession

from .two_origins import CREDENTIALS, NO_GRACE, Origin


class HandClock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return 1000.0 + self.passed

    def wall(self) -> float:
        return 1_800_000_000.0 + self.passed


@contextmanager
def _slow_tokens(api: Origin, monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Event]:
    """Let the token endpoint answer when the event is set."""
    gate = asyncio.Event()
    answer = api._token

    async def held(request: web.Request) -> web.Response:
        await gate.wait()
        return await answer(request)

    assert api.server.app is not None
    route = next(iter(next(iter(api.server.app.router.resources()))))
    with monkeypatch.context() as patch:
        patch.setattr(route, "_handler", held)
        yield gate
        gate.set()


# What is aiohttp's


async def test_auth_of_one_call_wins(vbc: VBCSession, api: Origin) -> None:
    """No token is minted for a request with auth=."""
    with pytest.warns(DeprecationWarning, match="auth|BasicAuth"):
        async with vbc.get("/x", auth=aiohttp.BasicAuth("user", "password")):
            pass

    assert api.authorizations == ["Basic dXNlcjpwYXNzd29yZA=="]
    assert api.mints == 0


async def test_leaving_the_block_lets_go_of_the_connection(vbc: VBCSession, api: Origin) -> None:
    """`async with` releases the connection of an answer that was not read to its end."""
    api.body = b"x" * 4_000_000
    async with vbc.get("/x") as response:
        assert not response.closed

    assert response.closed


async def test_answer_that_was_judged_is_closed(vbc: VBCSession, api: Origin) -> None:
    """If raise_for_status raises, also in a callable of the user, the connection is released."""
    api.body = b"x" * 4_000_000
    judged: list[aiohttp.ClientResponse] = []

    async def condemn(response: aiohttp.ClientResponse) -> None:
        judged.append(response)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await vbc.get("/x", raise_for_status=condemn)

    assert judged[0].closed


@pytest.mark.parametrize("extra", [{"compress": "deflate"}, {"chunked": True}, {"expect100": True}])
async def test_transfer_options_survive_a_replay(vbc: VBCSession, api: Origin, extra: dict[str, Any]) -> None:
    """A compressed, chunked or announced body arrives complete both times, in both forms."""
    async with aiohttp.ClientSession(middlewares=(vbc.auth,)) as mine:
        for post, base in ((vbc.post, ""), (mine.post, api.url)):
            await vbc.token()
            api.kill_current()
            api.bodies.clear()
            async with post(f"{base}/x", data=b"body" * 1000, **extra) as response:
                assert response.status == 200
            assert api.bodies == [b"body" * 1000] * 2


async def test_nothing_blocks_the_loop(api: Origin) -> None:
    """Minting, sending, replaying and closing make no blocking call in the event loop."""
    with blockbuster_ctx("truecaller_vbc"):
        async with VBCSession(CREDENTIALS, base_url=api.url, policy=NO_GRACE) as vbc:
            await vbc.token()
            api.kill_current()
            async with vbc.post("/x", json={}) as response:
                assert response.status == 200


# The caller's time


async def test_a_request_has_the_rest_of_the_total() -> None:
    """The wait for a token reduces the caller's total timeout, and the rest of the timeout stays."""
    timeout = aiohttp.ClientTimeout(total=30.0, sock_read=7.0)
    with aioresponses() as mock:
        mock.post("https://vbc.example/clients/account/token", payload={"token": "a" * 64})
        mock.get("https://vbc.example/x")
        async with VBCSession(CREDENTIALS, base_url="https://vbc.example") as vbc, vbc.get("/x", timeout=timeout):
            pass
        (call,) = next(calls for (method, _), calls in mock.requests.items() if method == "GET")

    assert 0 < call.kwargs["timeout"].total < 30.0
    assert call.kwargs["timeout"].sock_read == 7.0


async def test_the_sessions_own_total_includes_the_wait(api: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default total timeout of the user's session includes the wait for a token, too."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.05)) as http,
        VBCSession(CREDENTIALS, base_url=api.url, http=http) as vbc,
    ):
        with _slow_tokens(api, monkeypatch):
            with pytest.raises(TimeoutError):
                await vbc.get("/x")
        async with vbc.get("/x", timeout=aiohttp.ClientTimeout(total=None)) as response:
            assert response.status == 200

    assert api.mints == 1


# Rejections in a row


async def test_a_token_that_worked_is_replaced_each_time(api: Origin) -> None:
    """Tokens that the API accepted before it rejects them are each replaced after the normal grace period."""
    clock = HandClock()
    async with VBCSession(CREDENTIALS, base_url=api.url, clock=clock) as vbc:
        for _ in range(6):
            async with vbc.get("/x") as response:
                assert response.status == 200
            clock.passed += 31
            api.kill_current()
            async with vbc.get("/x") as response:
                assert response.status == 200

    assert api.mints == 7


async def test_cancelled_replay_loses_no_token(vbc: VBCSession, api: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling a caller that waits for a replacement does not stop the mint."""
    await vbc.token()
    api.kill_current()
    with _slow_tokens(api, monkeypatch) as gate:
        leaver = asyncio.create_task(vbc.get("/x"))
        async with asyncio.timeout(5):
            while len(api.authorizations) < 1 or vbc.status().state != "empty":
                await asyncio.sleep(0.001)
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        gate.set()
        assert (await vbc.token()).value == "token2"

    assert api.mints == 2


# The middleware and the life of its session


async def test_middleware_of_a_session_that_is_not_open(api: Origin) -> None:
    """Before it is entered and after it is closed, the middleware sends nothing."""
    vbc = VBCSession(CREDENTIALS, base_url=api.url)
    async with aiohttp.ClientSession(middlewares=(vbc.auth,)) as mine:
        with pytest.raises(SessionClosedError, match="not entered"):
            await mine.get(f"{api.url}/x")
        async with vbc:
            await vbc.token()
        with pytest.raises(SessionClosedError, match="closed"):
            await mine.get(f"{api.url}/x")

    assert api.authorizations == []


async def test_closed_session_sends_nothing_with_a_users_own_header(api: Origin) -> None:
    """After close no request is sent, even without a token and with an open http=."""
    async with aiohttp.ClientSession() as http:
        async with VBCSession(CREDENTIALS, base_url=api.url, http=http) as vbc:
            pass
        with pytest.raises(SessionClosedError, match="closed"):
            await vbc.get("/x", headers={"Authorization": "Basic mine"})

    assert api.authorizations == []


async def test_websocket_through_the_middleware(api: Origin, vbc: VBCSession) -> None:
    """The middleware adds the token to a WebSocket handshake."""
    async with aiohttp.ClientSession(middlewares=(vbc.auth,)) as mine:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await mine.ws_connect(f"{api.url}/x")

    assert api.authorizations == ["Bearer token1"]


async def test_stream_through_the_middleware_is_logged_nowhere(
    vbc: VBCSession, api: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    """The log of a dead token shows its fingerprint only."""
    caplog.set_level(logging.DEBUG)

    async def stream() -> AsyncIterator[bytes]:
        yield b"streamed"

    token = await vbc.token()
    api.kill_current()
    async with vbc.post("/x", data=stream()) as response:
        assert response.status == 401

    assert token.fingerprint in caplog.text
    assert token.value not in caplog.text


# Open bugs, as the contract wants it. Each mark goes with the mending (a test that passes is an error here).


async def test_500_of_another_origin_is_not_about_our_token(vbc: VBCSession, api: Origin, other: Origin) -> None:
    """A 500 'Failed to parse token' from another origin after a redirect does not drop our token."""
    other.status, other.body = 500, b'{"message":"500/50011 - Failed to parse token"}'
    async with vbc.get(f"/redirect?status=307&to={other.url}/x") as response:
        assert response.status == 500

    assert api.mints == 1
    assert other.authorizations == [None]


async def test_headers_that_can_be_read_once(vbc: VBCSession, api: Origin) -> None:
    """The user's Authorization takes precedence in an iterator of pairs, too."""
    async with vbc.get("/x", headers=iter([("Authorization", "Basic mine")])):
        pass

    assert api.authorizations == ["Basic mine"]


async def test_netrc_that_gets_in_the_way_is_named(
    api: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error for a conflicting netrc entry names the file; other errors of aiohttp stay as they are."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login some password one\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with (
        aiohttp.ClientSession(trust_env=True) as http,
        VBCSession(CREDENTIALS, base_url=api.url, http=http) as vbc,
    ):
        with pytest.raises(ConfigurationError, match="netrc"):
            await vbc.get("/x")
        with pytest.raises(ValueError, match="data and json"):
            await vbc.post("/x", data=b"1", json=1)

    assert api.authorizations == []


async def test_total_includes_the_wait_for_a_replacement(
    vbc: VBCSession, api: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short total timeout ends a call that waits for a replacement, in both forms."""
    await vbc.token()
    api.kill_current()
    with _slow_tokens(api, monkeypatch) as gate:
        asyncio.get_running_loop().call_later(0.25, gate.set)
        with pytest.raises(TimeoutError):
            await vbc.get("/x", timeout=aiohttp.ClientTimeout(total=0.05))


async def test_a_token_that_only_replays_used_is_replaced(api: Origin) -> None:
    """A replay that succeeds marks its token as accepted."""
    clock = HandClock()
    async with VBCSession(CREDENTIALS, base_url=api.url, clock=clock) as vbc:
        async with vbc.get("/x"):
            pass
        for _ in range(4):
            clock.passed += 31
            api.kill_current()
            async with vbc.get("/x") as response:
                assert response.status == 200
