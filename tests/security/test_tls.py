"""Check that TLS is verified by default, for the API and for Redis, and as the user's session says otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from truecaller_vbc import RedisStore, StoreError, TokenEndpointError, VBCSession

from ..redis_server import RedisServer, redis_server
from ..requests.two_origins import CREDENTIALS, Origin
from .relay import Relay
from .tls_origin import Authority, tls_origin


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def tls(authority: Authority) -> AsyncIterator[Origin]:
    async with tls_origin(authority.server("127.0.0.1")) as it:
        yield it


async def _refused(vbc: VBCSession, api: Origin, kind: type[Exception]) -> None:
    """Check that each call fails with TokenEndpointError, and that nothing was sent."""
    for call in (vbc.token(), vbc.get("/x"), vbc.labels.list()):
        with pytest.raises(TokenEndpointError) as caught:
            await call
        causes: list[BaseException] = [caught.value]
        while (cause := causes[-1].__cause__) is not None:
            causes.append(cause)
        assert any(isinstance(cause, kind) for cause in causes)
    assert vbc.status().mints_in_window == 0
    assert (api.mints, api.authorizations) == (0, [])


async def test_unknown_authority_is_refused(tls: Origin) -> None:
    """The default session, and a user's session with defaults, refuse a certificate of an unknown authority."""
    async with VBCSession(CREDENTIALS, base_url=tls.url) as vbc:
        await _refused(vbc, tls, aiohttp.ClientConnectorCertificateError)
    async with aiohttp.ClientSession() as http, VBCSession(CREDENTIALS, base_url=tls.url, http=http) as vbc:
        await _refused(vbc, tls, aiohttp.ClientConnectorCertificateError)


async def test_trusted_authority(tls: Origin, authority: Authority) -> None:
    """A user's session that trusts the authority works for the mint, requests and the middleware."""
    async with authority.session() as http, VBCSession(CREDENTIALS, base_url=tls.url, http=http) as vbc:
        async with vbc.get("/x") as response:
            assert response.status == 200
        async with authority.session(middlewares=(vbc.auth,)) as mine, mine.get(f"{tls.url}/x") as response:
            assert response.status == 200
    assert tls.mints == 1
    assert tls.authorizations == ["Bearer token1"] * 2


async def test_another_hosts_certificate_is_refused(authority: Authority) -> None:
    """A certificate for another host is refused, although its authority is trusted."""
    async with (
        tls_origin(authority.server("other.example")) as api,
        authority.session() as http,
        VBCSession(CREDENTIALS, base_url=api.url, http=http) as vbc,
    ):
        await _refused(vbc, api, aiohttp.ClientConnectorCertificateError)


async def test_certificate_that_is_not_the_pinned_one_is_refused(tls: Origin) -> None:
    """With a pinned fingerprint, another certificate is refused before anything is sent."""
    pinned = aiohttp.TCPConnector(ssl=aiohttp.Fingerprint(b"\0" * 32))
    async with (
        aiohttp.ClientSession(connector=pinned) as http,
        VBCSession(CREDENTIALS, base_url=tls.url, http=http) as vbc,
    ):
        await _refused(vbc, tls, aiohttp.ServerFingerprintMismatch)


@pytest.mark.parametrize("status", [302, 307])
async def test_redirect_out_of_tls_loses_the_token(
    tls: Origin, other: Origin, authority: Authority, status: int
) -> None:
    """A redirect to the same host without TLS is a redirect to another origin, which gets no token."""
    assert URL(other.url).host == URL(tls.url).host
    path = str(URL("/redirect").with_query(status=status, to=f"{other.url}/x"))
    async with authority.session() as http, VBCSession(CREDENTIALS, base_url=tls.url, http=http) as vbc:
        async with vbc.post(path, data=b"x") as response:
            assert response.status == 200
        async with authority.session(middlewares=(vbc.auth,)) as mine, mine.post(tls.url + path) as response:
            assert response.status == 200
    assert tls.authorizations == ["Bearer token1"] * 2
    assert other.authorizations == [None, None]


# Redis over TLS: the server of the tests does not support TLS, so a relay in front of it does.


@pytest.fixture(scope="module")
def plain_redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.mark.parametrize(
    ("names", "options", "works"),
    [
        (("127.0.0.1",), "?ssl_ca_certs={ca}", True),
        (("127.0.0.1",), "", False),
        (("other.example",), "?ssl_ca_certs={ca}", False),
    ],
    ids=["trusted", "trusted by nobody", "another host's"],
)
async def test_redis_over_tls(
    authority: Authority, plain_redis: RedisServer, tmp_path: Path, names: Any, options: str, works: bool
) -> None:
    """``rediss://`` checks authority and host name; a refused connection sends nothing to the server."""
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem())
    relay = Relay()
    async with relay.open(relay.terminator(plain_redis.port), authority.server(*names)):
        store = RedisStore(f"rediss://127.0.0.1:{relay.port}/0{options.format(ca=ca)}")
        try:
            if works:
                assert await store.write("key", '{"revision": 1}')
                assert await store.read("key") == '{"revision": 1}'
            else:
                with pytest.raises(StoreError):
                    await store.read("key")
        finally:
            await store.close()
    assert bool(relay.seen) is works
