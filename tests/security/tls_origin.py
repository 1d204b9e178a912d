"""An origin that speaks TLS, with certificates of an authority that nobody trusts by himself."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import trustme

from ..requests.two_origins import Origin


class Authority:
    """Issues certificates, and is trusted by who says so."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def server(self, *names: str) -> ssl.SSLContext:
        """For a server that goes by these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        """For a client that trusts this authority, and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context

    def session(self, **options: object) -> aiohttp.ClientSession:
        """An aiohttp session of a user who trusts it."""
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.client()), **options)  # type: ignore[arg-type]

    def pem(self) -> bytes:
        """Its own certificate."""
        return self._ca.cert_pem.bytes()


@asynccontextmanager
async def tls_origin(context: ssl.SSLContext) -> AsyncIterator[Origin]:
    """An open origin at an https:// address."""
    it = Origin()
    await it.server.start_server(ssl=context)
    try:
        yield it
    finally:
        await it.server.close()
