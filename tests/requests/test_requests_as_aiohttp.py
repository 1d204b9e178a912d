"""`vbc.request` and its shortcuts behave as aiohttp's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from truecaller_vbc import TokenError, VBCSession

from .two_origins import CREDENTIALS, Origin


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
async def test_each_method_both_ways(vbc: VBCSession, api: Origin, method: str) -> None:
    """`async with` and `await` both give an `aiohttp.ClientResponse`, and the token is sent."""
    async with getattr(vbc, method)("/x", params={"q": "1"}) as response:
        assert isinstance(response, aiohttp.ClientResponse)
        assert (response.method, response.url.raw_path_qs) == (method.upper(), "/x?q=1")
        assert await response.json() == {"ok": True}
    response = await getattr(vbc, method)("/x")
    assert response.status == 200
    response.release()

    assert api.authorizations == ["Bearer token1"] * 2
    assert api.mints == 1


async def test_it_is_a_coroutine(vbc: VBCSession, api: Origin) -> None:
    """The result works with create_task, gather and wait_for, and closing it unawaited causes no warning."""
    responses = await asyncio.gather(
        asyncio.create_task(vbc.request("GET", "/a")), vbc.get("/b"), asyncio.wait_for(vbc.get(URL("/c")), 5)
    )
    assert [response.status for response in responses] == [200] * 3
    for response in responses:
        response.release()
    vbc.get("/never").close()
    with pytest.raises(ZeroDivisionError):
        vbc.get("/never").throw(ZeroDivisionError)
    assert len(api.authorizations) == 3


async def test_exception_inside_the_block_closes_the_response(vbc: VBCSession) -> None:
    """An exception inside `async with` closes the response."""
    with pytest.raises(ZeroDivisionError):
        async with vbc.get("/x") as response:
            raise ZeroDivisionError
    assert response.closed


async def test_keyword_arguments_are_aiohttps(vbc: VBCSession, api: Origin) -> None:
    """json, data, headers and other arguments are passed on unchanged."""
    async with vbc.post("/x", json={"a": 1}, headers={"X-Mine": "1"}) as response:
        assert response.request_info.headers["X-Mine"] == "1"
    async with vbc.post("/x", data=b"bytes"):
        pass
    with pytest.raises(TypeError, match="nonsense"):
        await vbc.post("/x", nonsense=1)  # type: ignore[call-arg]

    assert [json.loads(api.bodies[0]), api.bodies[1]] == [{"a": 1}, b"bytes"]


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
async def test_no_status_is_an_error_by_itself(vbc: VBCSession, api: Origin, status: int) -> None:
    """Other statuses are returned to the caller and do not affect the token."""
    api.status = status
    async with vbc.get("/x") as response:
        assert response.status == status
    assert api.mints == 1


async def test_raise_for_status_comes_after_the_replay(vbc: VBCSession, api: Origin) -> None:
    """raise_for_status, in any form, is applied after the replay."""
    checked: list[int] = []

    async def check(response: aiohttp.ClientResponse) -> None:
        checked.append(response.status)

    await vbc.token()
    api.kill_current()
    async with vbc.get("/x", raise_for_status=True) as response:
        assert response.status == 200
    async with vbc.get("/x", raise_for_status=check):
        assert checked == [200]
    api.status = 404
    with pytest.raises(aiohttp.ClientResponseError) as caught:
        await vbc.get("/x", raise_for_status=True)
    assert caught.value.status == 404
    assert "token" not in repr(caught.value).replace("/token", "")
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        VBCSession(CREDENTIALS, base_url=api.url, http=http) as strict,
    ):
        with pytest.raises(aiohttp.ClientResponseError):
            await strict.get("/x")
        async with strict.get("/x", raise_for_status=False) as response:
            assert response.status == 404


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Basic mine"}, CIMultiDict(AUTHORIZATION="Basic mine"), [("Authorization", "Basic mine")]],
)
async def test_users_own_authorization_wins(vbc: VBCSession, api: Origin, headers: Mapping[str, str]) -> None:
    """With the user's own Authorization, in any form, no token is minted and a 401 is returned."""
    api.dead.add("Basic mine")
    async with vbc.get("/x", headers=headers) as response:
        assert response.status == 401
    assert api.authorizations == ["Basic mine"]
    assert api.mints == 0


async def test_default_authorization_of_a_foreign_session_is_replaced(api: Origin) -> None:
    """A default Authorization of http= is replaced by the token."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": "Basic other"}) as http,
        VBCSession(CREDENTIALS, base_url=api.url, http=http) as vbc,
        vbc.get("/x"),
    ):
        pass
    assert api.authorizations == ["Bearer token1"]
    async with aiohttp.ClientSession() as http:
        async with VBCSession(CREDENTIALS, base_url=api.url, http=http) as vbc, vbc.get("/x"):
            pass
        assert not http.closed


async def test_callers_headers_are_not_changed(vbc: VBCSession) -> None:
    """The caller's headers dict is not changed."""
    headers = CIMultiDict({"X-Mine": "1"})
    async with vbc.get("/x", headers=headers):
        pass
    assert list(headers) == ["X-Mine"]


async def test_total_timeout_includes_the_wait_for_a_token(
    vbc: VBCSession, api: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short total timeout ends the call with aiohttp's error, and the mint continues for the next call."""
    slow = asyncio.Event()
    token = api._token

    async def held(request: aiohttp.web.Request) -> aiohttp.web.Response:
        await slow.wait()
        return await token(request)

    route = next(iter(api.server.app.router.resources())) if api.server.app else None
    assert route is not None
    monkeypatch.setattr(next(iter(route)), "_handler", held)
    timeouts: tuple[object, ...] = (aiohttp.ClientTimeout(total=0.05), 0.05)
    for timeout in timeouts:
        with pytest.raises(TimeoutError):
            await vbc.get("/x", timeout=timeout)  # type: ignore[arg-type]
    slow.set()
    async with vbc.get("/x", timeout=aiohttp.ClientTimeout(total=None)) as response:
        assert response.status == 200
    assert api.mints == 1


async def test_no_token_is_a_typed_error(vbc: VBCSession, api: Origin) -> None:
    """If no token is obtained, the request is not sent."""
    api.fail_token = 503
    with pytest.raises(TokenError):
        await vbc.get("/x")
    assert api.authorizations == []
