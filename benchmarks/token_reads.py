"""Time `await vbc.token()` and `vbc.current_token` with a fresh token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from truecaller_vbc import AccessToken, VBCSession

from .rounds import Effort, Round, Row, compare
from .sandboxes import sandbox_process

HOUR = 3600
REST = 1.1


class DoubleChecked:
    """The double-checked lock that most programs use, with the clock read that a real one needs."""

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
            self._expires_at = time.monotonic() + HOUR
            return self._token


class Attribute:
    """A coroutine that returns an attribute and a property that reads one clock, the lower limits of the cost."""

    def __init__(self, token: AccessToken) -> None:
        self._token = token
        self._expires_at = time.monotonic() + HOUR

    async def token(self) -> AccessToken:
        return self._token

    @property
    def current_token(self) -> AccessToken | None:
        return self._token if time.monotonic() < self._expires_at else None


def time_awaits(call: Callable[[], Awaitable[object]], times: int) -> Round[float]:
    """Return a round that measures the nanoseconds of one await."""

    async def run() -> float:
        await asyncio.sleep(0)
        started = time.perf_counter()
        for _ in range(times):
            await call()
        return (time.perf_counter() - started) / times * 1e9

    return run


def _time_reads(owner: Attribute | VBCSession, times: int) -> Round[float]:
    async def run() -> float:
        started = time.perf_counter()
        for _ in range(times):
            owner.current_token  # noqa: B018
        return (time.perf_counter() - started) / times * 1e9

    return run


async def fresh_token(effort: Effort) -> list[Row]:
    """Compare `token()` with a lock and with an attribute, and a session with a file store with one without a store."""
    times = int(100_000 * effort.scale)
    with sandbox_process() as sandbox, TemporaryDirectory() as directory:
        file = Path(directory, "token.json").as_uri()
        async with (
            VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc,
            VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=file) as stored,
        ):
            attribute, locked = Attribute(await vbc.token()), DoubleChecked(stored.token)
            await locked.token()
            comparisons = (
                ("fresh token() beside the double-checked asyncio.Lock", vbc.token, locked.token, 1.0),
                ("fresh token() beside an async def that returns an attribute", vbc.token, attribute.token, 1.7),
                ("fresh token() with a file store beside memory", stored.token, vbc.token, 1.05),
            )
            return [
                await compare(
                    name,
                    "ns",
                    time_awaits(ours, times),
                    time_awaits(baseline, times),
                    target=target,
                    rounds=2 * effort.rounds,
                )
                for name, ours, baseline, target in comparisons
            ]


async def current_token(effort: Effort) -> list[Row]:
    """Compare `current_token` with a property that reads one clock.

    In a session that also awaits `token()`, reads need no clock. After a second without use they do, so both are timed.
    """
    times = int(100_000 * effort.scale)
    with sandbox_process() as sandbox:
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc:
            baseline = _time_reads(Attribute(await vbc.token()), times)
            read = _time_reads(vbc, times)

            async def read_in_use() -> float:
                await vbc.token()
                return await read()

            rows = []
            await asyncio.sleep(REST)  # reads alone do not end the rest, so the first row can follow it
            for name, ours in (("after a second's rest", read), ("in use", read_in_use)):
                label = f"current_token ({name}) beside a property with one clock read"
                rows.append(await compare(label, "ns", ours, baseline, target=2.0, rounds=2 * effort.rounds))
            return rows
