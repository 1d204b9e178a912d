"""Adapt this library and the ways that need only aiohttp, and find the adapter of a name.

The adapters of other libraries are in `library_adapters`, which is imported when one is used.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from importlib import import_module
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, cast

import attrs
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from truecaller_vbc import TokenPolicy, VBCSession

from .peer import Peer

JITTER = 300.0


class Bare(Peer):
    """aiohttp with a static header, the lowest cost of a request.

    It mints one token at the start, and cannot handle expiry, a 401, a failing token endpoint or a restart.
    """

    window = 0.0
    fixed = "never refreshes"

    async def open(self) -> None:
        self._header = f"Bearer {await self.target.mint(self.http)}"

    async def authorization(self) -> str:
        return self._header


class DoubleChecked(Peer):
    """The double-checked `asyncio.Lock` that most programs use, one minute before the end.

    It cannot handle a 401, a failing token endpoint, cancellation or a second process.
    """

    window = 60.0

    async def open(self) -> None:
        self._lock = asyncio.Lock()
        self._token: str | None = None
        self._expires_at = 0.0

    async def authorization(self) -> str:
        return f"Bearer {await self._get()}"

    async def _get(self) -> str:
        if self._token is not None and time.monotonic() < self._expires_at:
            return self._token
        async with self._lock:
            if self._token is not None and time.monotonic() < self._expires_at:
                return self._token
            self._token = await self.target.mint(self.http)
            self._expires_at = time.monotonic() + self.target.lifetime - self.scaled_window
            return self._token


class AiohttpMiddleware(Peer):
    """The two client middlewares of aiohttp's documentation, combined.

    Source: aiohttp documentation, "Client Middleware Cookbook", "Token Refresh Middleware": "you could check for a 401
    response, then refresh the token and retry", "If you have an expiry time for the token, you could refresh at the
    expiry time, to avoid the failed request", "Or combine the above approaches to create a more robust solution". The
    comparison of tokens under the lock is that of its `TokenRefresh401Middleware`; the 30 s are those of
    ``examples/token_refresh_middleware.py``.

    It says "Add error handling as needed", and cannot handle a failing token endpoint, cancellation or a second
    process.
    """

    window = 30.0

    async def open(self) -> None:
        self._lock = asyncio.Lock()
        self._token, self._expires_at = "", 0.0

    async def _refresh(self, refused: str) -> None:
        async with self._lock:
            if self._token == refused:  # no other caller has refreshed it yet
                self._token = await self.target.mint(self.http)
                self._expires_at = time.time() + self.target.lifetime - self.scaled_window

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if self._expires_at <= time.time():
            await self._refresh(self._token)
        token = self._token
        request.headers["Authorization"] = f"Bearer {token}"
        response = await handler(request)
        if response.status != 401:
            return response
        await self._refresh(token)
        request.headers["Authorization"] = f"Bearer {self._token}"
        return await handler(request)

    async def authorization(self) -> str:
        request: Any = SimpleNamespace(headers={})
        await self(request, cast("Any", self._accept))
        return str(request.headers["Authorization"])

    async def _accept(self, _: object) -> SimpleNamespace:
        return SimpleNamespace(status=200)

    async def post(self, url: str, json: Any) -> int:
        async with self.http.post(url, json=json, middlewares=(self,)) as response:
            await response.read()
            return response.status


class Ours(Peer):
    """`VBCSession` of this library with its default policy, or that policy scaled."""

    packages = ("truecaller_vbc", "aiohttp")
    imports = "from truecaller_vbc import VBCSession"
    window = 900.0

    async def open(self) -> None:
        target = self.target
        jitter = min(JITTER * target.scale, (target.lifetime - self.scaled_window) / 2)
        policy = attrs.evolve(
            TokenPolicy() if target.scale == 1 else TokenPolicy().scaled(target.scale),
            lifetime=timedelta(seconds=target.lifetime),
            refresh_jitter=timedelta(seconds=jitter),
        )
        self._vbc = VBCSession(
            target.credentials, base_url=target.base_url, policy=policy, http=self.http, store=target.store
        )
        await self._vbc.__aenter__()

    async def close(self) -> None:
        await self._vbc.close()

    @property
    def attempts(self) -> int:
        return len(self._vbc.ledger())

    async def authorization(self) -> str:
        return str((await self._vbc.token()).authorization)

    async def post(self, url: str, json: Any) -> int:
        async with self._vbc.post(url, json=json) as response:
            await response.read()
            return response.status


_ADAPTERS: dict[str, type[Peer] | str] = {
    "bare": Bare,
    "double_checked": DoubleChecked,
    "aiohttp_middleware": AiohttpMiddleware,
    "gcloud_aio_auth": "GcloudAioAuth",
    "aiobotocore_credentials": "AiobotocoreCredentials",
    "aiobotocore_token": "AiobotocoreToken",
    "google_auth_aio": "GoogleAuthAio",
    "azure_core": "AzureCore",
    "authlib_httpx": "AuthlibHttpx",
    "ours": Ours,
}
NAMES = tuple(_ADAPTERS)


def adapter(name: str) -> type[Peer]:
    """Return the adapter of this name.

    Raises:
        ImportError: ``benchmarks/requirements.txt`` is not installed.
    """
    found = _ADAPTERS[name]
    if isinstance(found, str):
        found = cast("type[Peer]", getattr(import_module(".library_adapters", __package__), found))
    return found


def versions() -> dict[str, str]:
    """Return the version of each distribution that an adapter uses."""
    return {package: version(package) for name in NAMES for package in adapter(name).packages}
