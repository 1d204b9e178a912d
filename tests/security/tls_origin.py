"""An API server with TLS, with certificates of an authority that is not trusted by default."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import trustme

from ..requests.two_origins import Origin


class Authority:
    """Issue certificates."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def server(self, *names: str) -> ssl.SSLContext:
        """Return the TLS context of a server with these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        """Return the TLS context of a client that trusts only this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context

    def session(self, **options: object) -> aiohttp.ClientSession:
        """Return an aiohttp session that trusts this authority."""
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.client()), **options)  # type: ignore[arg-type]

    def pem(self) -> bytes:
        """Return the certificate of the authority."""
        return self._ca.cert_pem.bytes()


@asynccontextmanager
async def tls_origin(context: ssl.SSLContext) -> AsyncIterator[Origin]:
    """Run an API server at an https:// address."""
    it = Origin()
    await it.server.start_server(ssl=context)
    try:
        yield it
    finally:
        await it.server.close()
