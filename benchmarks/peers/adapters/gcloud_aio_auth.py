"""gcloud-aio-auth: a `BaseToken` with its own `refresh`, which is its one abstract method.

Source: ``gcloud/aio/auth/token.py`` of the release. It refreshes in the background after half of the lifetime and makes
callers wait after 95 %, both of them arguments; it counts in whole seconds. `acquire_access_token` tries 5 times, with
random exponential waits. ``service_file`` is given so that it looks for no credentials of the machine.

It has no answer to a 401, to a second process, or to a restart.
"""

from __future__ import annotations

import io
import math

from gcloud.aio.auth.token import BaseToken, TokenResponse

from ..peer import Peer
from ..wire import Wire


class Token(BaseToken):  # type: ignore[misc]
    wire: Wire

    async def refresh(self, *, timeout: int) -> TokenResponse:
        value = await self.wire.mint(self.session.session, timeout)
        return TokenResponse(value=value, expires_in=math.floor(self.wire.lifetime))


class Adapter(Peer):
    packages = ("gcloud-aio-auth",)
    imports = "gcloud.aio.auth"
    window = 1800.0

    async def open(self) -> None:
        self._token = Token(
            service_file=io.StringIO('{"type": "gce_metadata"}'),
            session=self.http,
            background_refresh_after=max(0.0001, 1 - self.ahead / self.wire.lifetime),
        )
        self._token.wire = self.wire

    async def close(self) -> None:
        await self._token.close()

    async def authorization(self) -> str:
        return f"Bearer {await self._token.get()}"
