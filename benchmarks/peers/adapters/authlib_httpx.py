"""Authlib's `AsyncOAuth2Client` on httpx2, which it names in the place of httpx.

Source: Authlib documentation, "OAuth 2 Session", "Auto update token" and "Compliance Fix for non Standard": the token
call is bent with `register_client_auth_method` and the hook ``access_token_response``. A token is refreshed ``leeway``
(60 s) before its end, under a lock that every request takes. It has no cold start of its own (`fetch_token` comes
first), so it begins with a token that has ended. It has no answer to a 401, a failing token endpoint, cancellation or a
restart (but for the hook `update_token`), and follows no redirect unless told so, as here.
"""

from __future__ import annotations

import ssl
from typing import Any

import httpx2
from authlib.integrations.httpx_client import AsyncOAuth2Client

from ..peer import Peer

_TLS = ssl.create_default_context()  # shared: one of its own takes each client 20 ms


class Adapter(Peer):
    packages = ("Authlib", "httpx2")
    imports = "authlib.integrations.httpx_client"
    window = 60.0

    async def open(self) -> None:
        self._client = AsyncOAuth2Client(
            token_endpoint=self.wire.token_url,
            token_endpoint_auth_method="vbc",  # noqa: S106
            grant_type="client_credentials",
            token={"access_token": "none yet", "expires_at": 1},
            leeway=self.ahead,
            verify=_TLS,
            follow_redirects=True,
        )
        self._client.register_client_auth_method(("vbc", self._sign))
        self._client.register_compliance_hook("access_token_response", self._as_oauth)

    def _sign(self, _: object, __: str, url: str, headers: Any, ___: object) -> tuple[str, Any, bytes]:
        self.wire.attempts += 1
        headers.update(self.wire.raw[1])
        return url, headers, self.wire.raw[0]

    def _as_oauth(self, response: Any) -> Any:
        response.raise_for_status()
        token = response.json()["token"]
        return httpx2.Response(200, json={"access_token": token, "expires_in": int(self.wire.lifetime)})

    async def close(self) -> None:
        await self._client.aclose()

    async def authorization(self) -> str:
        await self._client.ensure_active_token(self._client.token)
        return f"Bearer {self._client.token['access_token']}"

    async def post(self, url: str, json: Any) -> int:
        return int((await self._client.post(url, json=json)).status_code)
