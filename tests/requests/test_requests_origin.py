"""The token is sent to one origin only, in both forms and on every hop of a redirect."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from truecaller_vbc import ConfigurationError, VBCSession

from .two_origins import CREDENTIALS, Origin

REDIRECTS = [301, 302, 303, 307, 308]


@pytest.fixture
async def mine(vbc: VBCSession) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session of the user with the middleware."""
    async with aiohttp.ClientSession(middlewares=(vbc.auth,)) as http:
        yield http


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/x",
        "//evil.example/x",
        "http://127.0.0.1:1/x",
        "https://127.0.0.1/x",
        "\t//evil.example",
        "ftp://127.0.0.1/x",
        "http://user:password@127.0.0.1:{port}/x",
        "http://[bad",
        URL("https://evil.example/x"),
        None,
        7,
        b"/x",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_path_that_leads_elsewhere(vbc: VBCSession, api: Origin, path: object, method: str) -> None:
    """A path to another origin raises ConfigurationError before anything is sent."""
    if isinstance(path, str):
        path = path.replace("{port}", str(api.server.port))
    with pytest.raises(ConfigurationError) as caught:
        await vbc.request(method, path)  # type: ignore[arg-type]
    assert "password" not in str(caught.value)
    assert api.mints == 0


async def test_paths_and_urls_of_our_own_origin(vbc: VBCSession, api: Origin) -> None:
    """A path or URL of our origin is accepted in every form."""
    for path in ("/x?a=1", "x?a=1", f"{api.url}/x?a=1", URL("/x?a=1"), URL(f"{api.url}/x?a=1"), "/y/../x?a=1"):
        async with vbc.get(path) as response:
            assert response.url == URL(f"{api.url}/x?a=1")


@pytest.mark.parametrize("status", REDIRECTS)
async def test_redirect_to_another_origin_loses_the_token(
    vbc: VBCSession, mine: aiohttp.ClientSession, api: Origin, other: Origin, status: int
) -> None:
    """After a redirect to another origin no token is sent, and a 401 from there does not drop ours."""
    other.dead_answer = (401, b"", "text/plain")
    other.status = 401
    path = f"/redirect?status={status}&to={other.url}/x"
    async with vbc.post(path, data=b"body") as response:
        assert response.status == 401
    async with mine.post(api.url + path, data=b"body") as response:
        assert response.status == 401

    assert api.authorizations == ["Bearer token1"] * 2
    assert other.authorizations == [None, None]
    assert api.mints == 1


@pytest.mark.parametrize("status", REDIRECTS)
async def test_redirect_there_and_back(
    vbc: VBCSession, mine: aiohttp.ClientSession, api: Origin, other: Origin, status: int
) -> None:
    """A redirect to another origin and back does not show the token to it."""
    there = URL(f"{other.url}/redirect").with_query(status=status, to=f"{api.url}/x")
    path = str(URL("/redirect").with_query(status=status, to=str(there)))
    async with vbc.get(path) as response:
        assert response.status == 200
    async with mine.get(api.url + path) as response:
        assert response.status == 200

    assert other.authorizations == [None, None]


async def test_redirect_within_our_origin_keeps_the_token(
    vbc: VBCSession, mine: aiohttp.ClientSession, api: Origin
) -> None:
    """After a redirect within our origin the token is sent, and a dead one is replaced."""
    await vbc.token()
    api.kill_current()
    path = f"/redirect?status=307&to={api.url}/x"
    async with vbc.post(path, data=b"body") as response:
        assert response.status == 200
    api.kill_current()
    async with mine.post(api.url + path, data=b"body") as response:
        assert response.status == 200
    assert api.mints == 3


async def test_middleware_leaves_other_origins_alone(
    vbc: VBCSession, mine: aiohttp.ClientSession, other: Origin, api: Origin
) -> None:
    """The middleware does not change requests to another host or port, and mints nothing for them."""
    async with mine.get(f"{other.url}/x", headers={"Authorization": "Basic theirs"}):
        pass
    async with mine.get(f"{other.url}/x"):
        pass
    assert other.authorizations == ["Basic theirs", None]
    assert api.mints == 0


async def test_middleware_does_what_request_does(mine: aiohttp.ClientSession, vbc: VBCSession, api: Origin) -> None:
    """The middleware adds the token, replays once, and leaves the user's own header."""
    async with mine.post(f"{api.url}/x", json={"a": 1}):
        pass
    api.kill_current()
    async with mine.post(f"{api.url}/x", json={"a": 1}) as response:
        assert response.status == 200
    async with mine.get(f"{api.url}/x", headers={"Authorization": "Basic mine"}):
        pass
    assert api.authorizations == ["Bearer token1", "Bearer token1", "Bearer token2", "Basic mine"]
    assert api.bodies[1] == api.bodies[2] == b'{"a": 1}'


async def test_middleware_replays_once(mine: aiohttp.ClientSession, api: Origin) -> None:
    """If the replay is rejected, too, the caller gets that answer."""
    api.dead = {"token1", "token2"}
    async with mine.post(f"{api.url}/x", json={}) as response:
        assert response.status == 401
    assert api.authorizations == ["Bearer token1", "Bearer token2"]


async def test_middleware_does_not_resend_a_stream(mine: aiohttp.ClientSession, vbc: VBCSession, api: Origin) -> None:
    """For a body that cannot be sent again the caller gets the 401, and the token is dropped."""

    async def stream() -> AsyncIterator[bytes]:
        yield b"streamed"

    await vbc.token()
    api.kill_current()
    async with mine.post(f"{api.url}/x", data=stream()) as response:
        assert response.status == 401
    assert api.bodies == [b"streamed"]
    async with mine.post(f"{api.url}/x", data=_form()) as response:
        assert response.status == 200
    api.kill_current()
    async with mine.post(f"{api.url}/x", data=_form()) as response:
        assert response.status == 200
    assert api.forms == [[("a", b"1")]] * 3


def _form() -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("a", "1")
    return form


async def test_plain_http_needs_to_be_meant(api: Origin) -> None:
    """Plain http is allowed for loopback hosts, and for others only with allow_http."""
    with pytest.raises(ConfigurationError, match="allow_http=True"):
        VBCSession(CREDENTIALS, base_url="http://vbc.example")
    VBCSession(CREDENTIALS, base_url="http://vbc.example", allow_http=True)
    for host in ("localhost", "127.0.0.1", "127.1.2.3", "[::1]"):
        VBCSession(CREDENTIALS, base_url=f"http://{host}:8787")
    for host in ("127.evil.example", "localhost.evil.example", "0x7f.1.evil"):
        with pytest.raises(ConfigurationError, match="allow_http=True"):
            VBCSession(CREDENTIALS, base_url=f"http://{host}")
