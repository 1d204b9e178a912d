"""The API refuses tokens: every one of them, or the one at hand, once."""

from __future__ import annotations

import asyncio
import time

from server import call_record

from ..bench import Answer, Bench, Cell
from ..peer import Peer

CALLERS = 5
SETTLED_AFTER = 31.0
RECORD = call_record()


async def ask(bench: Bench) -> Answer:
    found = await asyncio.gather(*(_peer(bench, name) for name in bench.minting))
    return Answer(
        7,
        "The API refuses tokens with 401",
        f"{CALLERS} callers POST once a second in real time. Always: every token is refused, for "
        f"{bench.pick(40, 10)} s; a new one helps nobody. "
        f"Once: all tokens are revoked {SETTLED_AFTER:.0f} s after the mint, and a new one helps; calls in the 10 "
        "s from then on.",
        ["always: mints per minute", "once: mints", "once: calls that failed", "recovers?"],
        dict(zip(bench.minting, found, strict=True)),
    )


async def _peer(bench: Bench, name: str) -> list[Cell]:
    always, once = await asyncio.gather(_always(bench, name), _once(bench, name))
    return [always, *once]


async def _always(bench: Bench, name: str) -> float:
    seconds = bench.pick(40, 10)
    house = bench.farm.house()
    async with bench.peer(name, house) as peer:
        await peer.authorization()
        house.tell("outage", endpoint="api", fault={"status": 401})
        before = house.mints
        await _calls(peer, seconds)
        return (house.mints - before) * 60 / seconds


async def _once(bench: Bench, name: str) -> list[Cell]:
    house = bench.farm.house()
    async with bench.peer(name, house) as peer:
        assert await peer.post(peer.wire.record_url, RECORD) == 200  # noqa: S101
        await asyncio.sleep(SETTLED_AFTER)
        house.tell("revoke")
        statuses = await _calls(peer, 10)
    failed = sum(status != 200 for status in statuses)
    return [house.mints - 1, f"{failed} of {len(statuses)}", "yes" if statuses[-1] == 200 else "no"]


async def _calls(peer: Peer, seconds: float) -> list[int]:
    until, statuses = time.monotonic() + seconds, []

    async def caller(offset: float) -> None:
        await asyncio.sleep(offset)
        while time.monotonic() < until:
            try:
                statuses.append(await peer.post(peer.wire.record_url, RECORD))
            except Exception:  # whatever a peer raises is a failed call
                statuses.append(0)
            await asyncio.sleep(1)

    await asyncio.gather(*(caller(n / CALLERS) for n in range(CALLERS)))
    return statuses
