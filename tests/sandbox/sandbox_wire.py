"""Call a sandbox over plain HTTP, without any code of the library's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
from multidict import CIMultiDictProxy

from truecaller_vbc.sandbox import Sandbox, SandboxRules

PUBLIC = {"X-Public-Access": "allow"}


class ManualClock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@attrs.frozen
class Answer:
    """A response that was read."""

    status: int
    headers: CIMultiDictProxy[str]
    raw: bytes
    json: Any


class Wire:
    """Send any request to a sandbox."""

    def __init__(self, sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.http = http

    @property
    def account(self) -> str:
        return f"/clients/{self.sandbox.credentials.client_account_id}"

    @property
    def keys(self) -> dict[str, str]:
        return {"key_id": self.sandbox.credentials.key_id, "api_key": self.sandbox.credentials.api_key}

    async def send(self, method: str, path: str, **kwargs: Any) -> Answer:
        async with self.http.request(method, path, allow_redirects=False, **kwargs) as response:
            raw = await response.read()
            is_json = response.content_type == "application/json" and raw
            return Answer(response.status, response.headers, raw, await response.json() if is_json else None)

    async def mint(self, **kwargs: Any) -> Answer:
        """Send a valid token request, changed by `kwargs`."""
        kwargs = {"headers": PUBLIC, "json": self.keys} | kwargs
        if "data" in kwargs:
            del kwargs["json"]
        return await self.send("POST", f"{self.account}/token", **kwargs)

    async def token(self) -> str:
        return str((await self.mint()).json["token"])

    async def api(self, token: str, method: str = "GET", path: str = "/labels", **kwargs: Any) -> Answer:
        return await self.send(method, self.account + path, headers=bearer(token), **kwargs)

    async def is_live(self, token: str) -> bool:
        return (await self.api(token)).status == 200


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` is true, since the other side of a socket reacts later."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def wire(rules: SandboxRules | None = None, *, clock: Callable[[], float] | None = None) -> AsyncIterator[Wire]:
    """Run a new sandbox, and a session for it."""
    async with (
        Sandbox(rules, clock=clock) as sandbox,
        aiohttp.ClientSession(sandbox.base_url, timeout=aiohttp.ClientTimeout(total=5)) as http,
    ):
        yield Wire(sandbox, http)
