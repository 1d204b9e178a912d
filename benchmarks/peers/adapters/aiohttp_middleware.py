"""aiohttp's documented client middleware: the two of its cookbook, combined.

Source: aiohttp documentation, "Client Middleware Cookbook", "Token Refresh Middleware": "you could check for a 401
response, then refresh the token and retry", "If you have an expiry time for the token, you could refresh at the expiry
time, to avoid the failed request", "Or combine the above approaches to create a more robust solution". The comparison
of tokens under the lock is its `TokenRefresh401Middleware`'s; the 30 s are of ``examples/token_refresh_middleware.py``.

It says "Add error handling as needed", and has no answer to a failing token endpoint, cancellation or a second process.
"""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from ..peer import Peer


class Adapter(Peer):
    window = 30.0

    async def open(self) -> None:
        self._lock = asyncio.Lock()
        self._token, self._expires_at = "", 0.0

    async def _refresh(self, refused: str) -> None:
        async with self._lock:
            if self._token == refused:  # still not refreshed
                self._token = await self.wire.mint(self.http)
                self._expires_at = time.time() + self.wire.lifetime - self.ahead

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
        await self(request, cast("Any", self._answer))
        return str(request.headers["Authorization"])

    async def _answer(self, _: object) -> SimpleNamespace:
        return SimpleNamespace(status=200)

    async def post(self, url: str, json: Any) -> int:
        async with self.http.post(url, json=json, middlewares=(self,)) as response:
            await response.read()
            return response.status
