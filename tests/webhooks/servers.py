"""Serve receivers on loopback, and post to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from truecaller_vbc.sandbox import webhook_event
from truecaller_vbc.webhooks import Receiver

KEY = "key-of-the-url-1"


@asynccontextmanager
async def served(receiver: Receiver) -> AsyncIterator[str]:
    """Serve a receiver by aiohttp.web, and give its URL with the key."""
    app = web.Application()
    app.router.add_route("*", "/hook", receiver.aiohttp)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with receiver:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook?key={KEY}"
    finally:
        await runner.cleanup()


async def post(url: str, event: Any = None, **options: Any) -> tuple[int, Any, Any]:
    """Post an event (a new one by default), or bytes, and return status, JSON and headers."""
    event = webhook_event() if event is None else event
    data = event if isinstance(event, bytes) else json.dumps(event).encode()
    headers = {"Content-Type": "application/json", **options.pop("headers", {})}
    async with aiohttp.ClientSession() as http, http.post(url, data=data, headers=headers, **options) as answer:
        return answer.status, await answer.json(), answer.headers


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
