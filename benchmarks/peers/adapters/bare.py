"""aiohttp with a static header: the limit. One token is minted at the start, and that is all it ever has.

It has no answer to expiry, to a 401, to a failing token endpoint or to a restart: it is here for the cost of a request.
"""

from __future__ import annotations

from ..peer import Peer


class Adapter(Peer):
    window = 0.0
    fixed = "never refreshes"

    async def open(self) -> None:
        self._header = f"Bearer {await self.wire.mint(self.http)}"

    async def authorization(self) -> str:
        return self._header
