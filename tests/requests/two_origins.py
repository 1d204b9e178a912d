"""Provide two servers, an API that needs a token and another origin that must not see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import attrs
from aiohttp import web
from aiohttp.test_utils import TestServer

from truecaller_vbc import Credentials, TokenPolicy

CREDENTIALS = Credentials("account", "key", "secret")
NO_GRACE = attrs.evolve(TokenPolicy(), rejection_grace=timedelta(0))


class Origin:
    """An API that rejects dead tokens and records its requests."""

    def __init__(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/clients/account/token", self._token)
        app.router.add_route("*", "/redirect", self._redirect)
        app.router.add_route("*", "/{path:.*}", self._anything)
        self.server = TestServer(app)
        self.mints = 0
        self.dead: set[str] = set()
        self.dead_answer: tuple[int, bytes, str] = (401, b'{"slug":"authorization-error"}', "application/json")
        self.authorizations: list[str | None] = []
        self.bodies: list[bytes] = []
        self.forms: list[list[tuple[str, bytes]]] = []
        self.status = 200
        self.body = b'{"ok": true}'
        self.fail_token = 0

    @property
    def url(self) -> str:
        return str(self.server.make_url("")).rstrip("/")

    def kill_current(self) -> None:
        self.dead.add(f"token{self.mints}")

    async def _token(self, request: web.Request) -> web.Response:
        if self.fail_token:
            return web.Response(status=self.fail_token)
        self.mints += 1
        return web.json_response({"token": f"token{self.mints}"})

    async def _redirect(self, request: web.Request) -> web.Response:
        await self._remember(request)
        return web.Response(status=int(request.query["status"]), headers={"Location": request.query["to"]})

    async def _anything(self, request: web.Request) -> web.Response:
        token = await self._remember(request)
        if token in self.dead:
            status, body, kind = self.dead_answer
            return web.Response(status=status, body=body, content_type=kind)
        return web.Response(status=self.status, body=self.body, content_type="application/json")

    async def _remember(self, request: web.Request) -> str | None:
        authorization = request.headers.get("Authorization")
        self.authorizations.append(authorization)
        if request.content_type == "multipart/form-data":
            parts = await request.multipart()
            self.forms.append([(str(part.name), bytes(await part.read())) async for part in parts])  # type: ignore[union-attr]
        else:
            self.bodies.append(await request.read())
        return authorization.removeprefix("Bearer ") if authorization else None


@asynccontextmanager
async def origin() -> AsyncIterator[Origin]:
    it = Origin()
    await it.server.start_server()
    try:
        yield it
    finally:
        await it.server.close()
