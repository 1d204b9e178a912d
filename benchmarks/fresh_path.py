"""The cost of a fresh token: beside an attribute, beside the lock that most people write, and for each store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from rounds import Row, Timed, compare
from server import server

from truecaller_vbc import AccessToken, VBCSession


class Attribute:
    """The floor: an async method that returns an attribute, and a property that reads one clock."""

    __slots__ = ("expires_at", "lock", "value")

    def __init__(self, value: AccessToken) -> None:
        self.value: AccessToken | None = value
        self.expires_at = time.monotonic() + 3600
        self.lock = asyncio.Lock()

    async def token(self) -> AccessToken | None:
        return self.value

    async def double_checked(self) -> AccessToken | None:
        """What most people write; the part after the lock is never reached here."""
        if self.value is not None and time.monotonic() < self.expires_at:
            return self.value
        async with self.lock:
            return self.value

    @property
    def current_token(self) -> AccessToken | None:
        return self.value if time.monotonic() < self.expires_at else None


def awaiting(call: Callable[[], Awaitable[object]], times: int) -> Timed:
    """Nanoseconds of one await."""

    async def timed() -> float:
        await asyncio.sleep(0)
        started = time.perf_counter()
        for _ in range(times):
            await call()
        return (time.perf_counter() - started) / times * 1e9

    return timed


def reading(thing: Attribute | VBCSession, times: int, *, cold: bool = False) -> Timed:
    """Nanoseconds of one read of `current_token`."""

    async def timed() -> float:
        if cold and isinstance(thing, VBCSession):
            await asyncio.sleep(1.1)  # nobody asked for a second: the property looks at the clock itself
        started = time.perf_counter()
        for _ in range(times):
            thing.current_token  # noqa: B018
        return (time.perf_counter() - started) / times * 1e9

    return timed


async def run(rounds: int, scale: float) -> list[Row]:
    """All rows."""
    times = int(100_000 * scale)
    rows = []
    with server() as there, TemporaryDirectory() as directory:
        async with (
            VBCSession(there.credentials, base_url=there.base_url) as vbc,
            VBCSession(
                there.credentials, base_url=there.base_url, store=Path(directory, "token.json").as_uri()
            ) as shared,
        ):
            floor = Attribute(await vbc.token())
            await shared.token()
            ours = awaiting(vbc.token, times)
            for name, beside, target in (
                ("fresh token() beside the double-checked asyncio.Lock", floor.double_checked, 1.0),
                ("fresh token() beside an async def that returns an attribute", floor.token, 1.7),
            ):
                rows.append(await compare(name, "ns", ours, awaiting(beside, times), target=target, rounds=rounds))
            rows.append(
                await compare(
                    "fresh token() with a file store beside memory",
                    "ns",
                    awaiting(shared.token, times),
                    ours,
                    target=1.05,
                    rounds=rounds,
                )
            )
            for name, cold in (("in use", False), ("after a second's rest", True)):
                rows.append(
                    await compare(
                        f"current_token ({name}) beside a property with one clock read",
                        "ns",
                        reading(vbc, times, cold=cold),
                        reading(floor, times),
                        target=2.0,
                        rounds=3 if cold else rounds,
                    )
                )
    return rows
