"""`await vbc.token()` with a fresh token: beside the lock that most people write, and beside a bare attribute.

Fair, since the loop around each is the same, all have a token that lives for an hour, and the lock's class does what
it would do in production: it looks at the clock on every call, and its path to a mint is there, if never taken.
The attribute is the floor: no Python coroutine that returns a token can be cheaper.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from rounds import Row, Timed, compare
from server import server

from truecaller_vbc import AccessToken, VBCSession


class DoubleChecked:
    """What most people write."""

    def __init__(self, mint: Callable[[], Awaitable[AccessToken]]) -> None:
        self._mint = mint
        self._lock = asyncio.Lock()
        self._token: AccessToken | None = None
        self._expires_at = 0.0

    async def token(self) -> AccessToken:
        if self._token is not None and time.monotonic() < self._expires_at:
            return self._token
        async with self._lock:
            if self._token is not None and time.monotonic() < self._expires_at:
                return self._token
            self._token = await self._mint()
            self._expires_at = time.monotonic() + 3600
            return self._token


class Attribute:
    """The floor."""

    def __init__(self, token: AccessToken) -> None:
        self._token = token

    async def token(self) -> AccessToken:
        return self._token


def awaiting(call: Callable[[], Awaitable[object]], times: int) -> Timed:
    """Nanoseconds of one await."""

    async def timed() -> float:
        await asyncio.sleep(0)
        started = time.perf_counter()
        for _ in range(times):
            await call()
        return (time.perf_counter() - started) / times * 1e9

    return timed


async def run(rounds: int, scale: float) -> list[Row]:
    """A row for each thing beside it, and one for a store in a file: a fresh token does not look at its store."""
    times = int(100_000 * scale)
    with server() as there, TemporaryDirectory() as directory:
        file = Path(directory, "token.json").as_uri()
        async with (
            VBCSession(there.credentials, base_url=there.base_url) as vbc,
            VBCSession(there.credentials, base_url=there.base_url, store=file) as stored,
        ):
            attribute, locked = Attribute(await vbc.token()), DoubleChecked(stored.token)
            await locked.token()
            comparisons = (
                ("fresh token() beside the double-checked asyncio.Lock", vbc.token, locked.token, 1.0),
                ("fresh token() beside an async def that returns an attribute", vbc.token, attribute.token, 1.7),
                ("fresh token() with a file store beside memory", stored.token, vbc.token, 1.05),
            )
            return [
                await compare(name, "ns", awaiting(a, times), awaiting(b, times), target=target, rounds=2 * rounds)
                for name, a, b, target in comparisons
            ]
