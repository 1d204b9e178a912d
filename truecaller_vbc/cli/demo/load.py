"""Make calls from many coroutines on one session, and count what happens."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import Final

import aiohttp
import attrs

from ...errors import TokenError
from ...session import VBCSession

_PAUSE: Final = (0.5, 1.5)
_DEAD_TOKEN: Final = 401
_WINDOW_MS: Final = 3_600_000
_LATENCIES_KEPT: Final = 20_000
_LAG_INTERVAL: Final = 0.02


@attrs.define
class Stats:
    """Count the calls, and keep the latest latencies.

    Args:
        calls: calls that were answered.
        lost_connections: calls whose connection was lost; the caller makes them again.
        token_failures: calls that failed because there was no token, or a dead one.
        unexpected: answers with a status that the demo never provokes.
        crashed: whether an exception ended the callers.
        loop_lag: the longest delay of the event loop, in seconds.
        latencies: of the latest calls, in seconds.
    """

    calls: int = 0
    lost_connections: int = 0
    token_failures: int = 0
    unexpected: int = 0
    crashed: bool = False
    loop_lag: float = 0.0
    latencies: deque[float] = attrs.field(factory=lambda: deque(maxlen=_LATENCIES_KEPT))

    def percentile_ms(self, share: float) -> float | None:
        """Return the latency below which this share of the latest calls lies, in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else None


async def run_callers(vbc: VBCSession, callers: int, stats: Stats) -> None:
    """Make calls until cancelled; an exception ends all callers and is counted."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(measure_loop_lag(stats))
            for _ in range(callers):
                group.create_task(_caller(vbc, stats))
    except Exception:
        stats.crashed = True


async def measure_loop_lag(stats: Stats) -> None:
    """Note the longest delay of this event loop, until cancelled."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + _LAG_INTERVAL
        await asyncio.sleep(_LAG_INTERVAL)
        stats.loop_lag = max(stats.loop_lag, clock() - due)


async def _caller(vbc: VBCSession, stats: Stats) -> None:
    await asyncio.sleep(random.uniform(0, _PAUSE[1]))
    while True:
        if await _call(vbc, stats):
            await asyncio.sleep(random.uniform(*_PAUSE))


def _record() -> dict[str, str | int]:
    now = int(time.time() * 1000)
    return {
        "label_id": "c6d86658-008d-4c08-98fb-2bf2649d59a5",
        "dynamic_call_reason": "Flower Delivery",
        "caller_number": "911234567890",
        "receiver_number": "919876543210",
        "starts_at": now,
        "ends_at": now + _WINDOW_MS,
    }


async def _call(vbc: VBCSession, stats: Stats) -> bool:
    """Make one call; return False if its connection was lost and it must be made again."""
    clock = asyncio.get_running_loop().time
    started = clock()
    try:
        path = f"/v2/clients/{vbc.client_account_id}/dynamic_call_record"
        async with vbc.post(path, json=_record()) as response:
            await response.read()
    except TokenError:
        stats.token_failures += 1
        await asyncio.sleep(0.01)
        return True
    except (aiohttp.ClientError, TimeoutError):
        stats.lost_connections += 1
        return False
    stats.calls += 1
    stats.token_failures += response.status == _DEAD_TOKEN
    stats.unexpected += response.status not in (200, _DEAD_TOKEN)
    stats.latencies.append(clock() - started)
    return True
