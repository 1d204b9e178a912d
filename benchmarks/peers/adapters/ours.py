"""truecaller_vbc: `VBCSession`, with its default policy, or that policy scaled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from truecaller_vbc import TokenPolicy, VBCSession

from ..peer import Peer

JITTER = 300.0


class Adapter(Peer):
    packages = ("truecaller_vbc", "aiohttp")
    imports = "truecaller_vbc"
    window = 900.0

    async def open(self) -> None:
        jitter = min(JITTER * self.wire.scale, (self.wire.lifetime - self.ahead) / 2)
        policy = attrs.evolve(
            TokenPolicy() if self.wire.scale == 1 else TokenPolicy().scaled(self.wire.scale),
            lifetime=timedelta(seconds=self.wire.lifetime),
            refresh_jitter=timedelta(seconds=jitter),
        )
        self._vbc = VBCSession(
            self.wire.credentials, base_url=self.wire.base_url, policy=policy, http=self.http, store=self.wire.store
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
