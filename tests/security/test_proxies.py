"""Check that proxies and ~/.netrc are used only on the user's request, and cannot read TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from truecaller_vbc import Credentials, TokenEndpointError, VBCSession

from ..requests.two_origins import Origin
from .hidden import everything_about
from .relay import Relay
from .tls_origin import Authority, tls_origin

API_KEY = "the-api-key-0123456789"
CREDENTIALS = Credentials("account", "key", API_KEY)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def tls(authority: Authority) -> AsyncIterator[Origin]:
    async with tls_origin(authority.server("127.0.0.1")) as it:
        yield it


@pytest.fixture
async def proxy() -> AsyncIterator[Relay]:
    relay = Relay()
    async with relay.open(relay.proxy):
        yield relay


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, proxy: Relay, tmp_path: Path) -> pytest.MonkeyPatch:
    """Set both proxy variables, and an entry for our host in ~/.netrc."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name.upper(), proxy.url)
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login some password one\n")
    monkeypatch.setenv("NETRC", str(netrc))
    return monkeypatch


async def test_default_session_uses_neither(environment: pytest.MonkeyPatch, api: Origin, proxy: Relay) -> None:
    """The default session uses neither proxy nor ~/.netrc."""
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        async with vbc.get("/x") as response:
            assert response.status == 200
    assert api.authorizations == ["Bearer token1"]
    assert proxy.heads == []


@pytest.mark.parametrize("how", ["environment", "session"])
async def test_proxy_of_the_users_session(
    environment: pytest.MonkeyPatch, tls: Origin, authority: Authority, proxy: Relay, how: str
) -> None:
    """With a proxy, the mint and the calls go through a tunnel whose content the proxy cannot read."""
    environment.delenv("NETRC")
    environment.setenv("HOME", "/nowhere")
    options: dict[str, object] = {"trust_env": True} if how == "environment" else {"proxy": proxy.url}
    async with authority.session(**options) as http, VBCSession(CREDENTIALS, base_url=tls.url, http=http) as vbc:
        token = await vbc.token()
        async with vbc.post("/x", data=b"a caller's number") as response:
            assert response.status == 200
    assert tls.authorizations == ["Bearer token1"]
    assert proxy.heads
    assert all(head.startswith("CONNECT 127.0.0.1:") for head in proxy.heads)
    for secret in (API_KEY, str(token.value), "Bearer", "account", "caller's number"):
        assert secret.encode() not in proxy.seen


async def test_what_a_proxy_sees_without_tls(environment: pytest.MonkeyPatch, api: Origin, proxy: Relay) -> None:
    """Without TLS a proxy reads everything; http:// is for loopback and test networks."""
    environment.delenv("NETRC")
    environment.setenv("HOME", "/nowhere")
    async with aiohttp.ClientSession(trust_env=True) as http:
        async with VBCSession(CREDENTIALS, base_url=api.url, http=http) as vbc:
            await vbc.token()
    assert API_KEY.encode() in proxy.seen


@pytest.mark.parametrize("fault", ["refuses", "is down"])
async def test_proxy_that_fails(
    environment: pytest.MonkeyPatch, tls: Origin, authority: Authority, proxy: Relay, fault: str
) -> None:
    """If the proxy fails, the error counts no mint, and shows neither the proxy's password nor the key."""
    proxy.refuse = True
    port = proxy.port if fault == "refuses" else 1
    environment.delenv("NETRC")
    environment.setenv("HOME", "/nowhere")
    environment.setenv("HTTPS_PROXY", f"http://user:proxy-password@127.0.0.1:{port}")
    async with authority.session(trust_env=True) as http:
        async with VBCSession(CREDENTIALS, base_url=tls.url, http=http) as vbc:
            with pytest.raises(TokenEndpointError) as caught:
                await vbc.token()
            shown = everything_about(caught.value) + repr(vbc.status())
            assert vbc.status().mints_in_window == 0
    for secret in (API_KEY, "proxy-password", "dXNlcjpwcm94eS1wYXNzd29yZA", "Authorization"):
        assert secret not in shown
    assert tls.mints == 0
