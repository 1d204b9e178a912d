"""`vbc.current_token` beside a plain property that reads one clock.

Fair, since both are read in the same loop. Two rows: while somebody also awaits `token()`, which is how it is mostly
read, and in a session of which nobody has asked for a second, whose property has to look at the clock by itself.
"""

from __future__ import annotations

import asyncio
import time

from rounds import Row, Timed, compare
from server import server

from truecaller_vbc import AccessToken, VBCSession

REST = 1.1


class OneClockRead:
    """The plain property."""

    def __init__(self, token: AccessToken) -> None:
        self._token = token
        self._expires_at = time.monotonic() + 3600

    @property
    def current_token(self) -> AccessToken | None:
        return self._token if time.monotonic() < self._expires_at else None


def reading(thing: OneClockRead | VBCSession, times: int) -> Timed:
    """Nanoseconds of one read."""

    async def timed() -> float:
        started = time.perf_counter()
        for _ in range(times):
            thing.current_token  # noqa: B018
        return (time.perf_counter() - started) / times * 1e9

    return timed


async def run(rounds: int, scale: float) -> list[Row]:
    """Both rows."""
    times = int(100_000 * scale)
    with server() as there:
        async with VBCSession(there.credentials, base_url=there.base_url) as vbc:
            beside = reading(OneClockRead(await vbc.token()), times)
            read = reading(vbc, times)

            async def in_use() -> float:
                await vbc.token()
                return await read()

            rows = []
            await asyncio.sleep(REST)  # first, while the session rests: the reads themselves do not wake it
            for name, ours in (("after a second's rest", read), ("in use", in_use)):
                label = f"current_token ({name}) beside a property with one clock read"
                rows.append(await compare(label, "ns", ours, beside, target=2.0, rounds=2 * rounds))
            return rows
