"""google-auth's `AsyncAuthorizedSession` with credentials whose `refresh` is ours.

Source: ``google/auth/aio/transport/sessions.py`` and ``google/auth/credentials.py`` of the release. Its asynchronous
credentials have no expiry and refresh nothing. The session also takes synchronous ones: it shares one refresh among all
callers, shields it, and runs it in a thread; that is the best on offer, and stands here. A token is refreshed 3 min
45 s before its end. It has no answer to a second process or a restart.
"""

from __future__ import annotations

import json as jsonlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from google.auth.aio import transport
from google.auth.aio.transport.aiohttp import Request
from google.auth.aio.transport.sessions import AsyncAuthorizedSession
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError

from ..peer import Peer


class Source(Credentials):  # type: ignore[misc]
    def refresh(self, request: Any) -> None:
        self.wire.attempts += 1
        expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=self.wire.lifetime)
        response = request(self.wire.token_url, "POST", *self.wire.raw)
        if response.status != 200:
            raise RefreshError(f"{response.status}")
        self.token, self.expiry = jsonlib.loads(response.data)["token"], expiry


class Shown(transport.Request):  # type: ignore[misc]
    async def __call__(self, _: str, __: str, ___: object, headers: dict[str, str], *_____: object) -> Any:
        self.header = headers["authorization"]
        return SimpleNamespace(status_code=200)  # and nothing is sent


class Adapter(Peer):
    packages = ("google-auth",)
    imports = "google.auth.aio.transport.sessions"
    window, fixed = 225.0, "fixed at 3.75 min"

    async def open(self) -> None:
        source, self._shown = Source(), Shown()
        source.wire = self.wire
        self._session = AsyncAuthorizedSession(source, auth_request=Request(session=self.http))
        self._showing = AsyncAuthorizedSession(source, auth_request=self._shown)

    async def authorization(self) -> str:
        await self._showing.request("GET", self.wire.base_url)
        return str(self._shown.header)

    async def post(self, url: str, json: Any) -> int:
        response = await self._session.request("POST", url, jsonlib.dumps(json).encode(), self.wire.raw[1])
        await response.read()
        return int(response.status_code)
