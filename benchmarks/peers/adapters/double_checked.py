"""The double-checked `asyncio.Lock` that most people write, with a minute to spare before the end.

It has no answer to a 401, to a failing token endpoint, to cancellation, or to a second process.
"""

from __future__ import annotations

import asyncio
import time

from ..peer import Peer


class Adapter(Peer):
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
            self._token = await self.wire.mint(self.http)
            self._expires_at = time.monotonic() + self.wire.lifetime - self.ahead
            return self._token
