"""The callers: coroutines that call an authenticated endpoint, as a user's program would."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Final

import aiohttp

from ...errors import TokenError
from ...session import VBCSession
from .lateness import watch
from .tally import Tally

_PAUSE: Final = (0.5, 1.5)
_DEAD_TOKEN: Final = 401
_WINDOW_MS: Final = 3_600_000


async def call_on(vbc: VBCSession, callers: int, tally: Tally) -> None:
    """Call until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(tally))
        for _ in range(callers):
            group.create_task(_caller(vbc, tally))


async def _caller(vbc: VBCSession, tally: Tally) -> None:
    await asyncio.sleep(random.uniform(0, _PAUSE[1]))
    while True:
        if await _call(vbc, tally):
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


async def _call(vbc: VBCSession, tally: Tally) -> bool:
    """Make one call; False where it was lost and is to be made again."""
    clock = asyncio.get_running_loop().time
    started = clock()
    try:
        path = f"/v2/clients/{vbc.client_account_id}/dynamic_call_record"
        async with vbc.post(path, json=_record()) as response:
            await response.read()
    except TokenError:
        tally.want_of_token += 1
        await asyncio.sleep(0.01)
        return True
    except (aiohttp.ClientError, TimeoutError):
        tally.lost_connections += 1
        return False
    tally.calls += 1
    tally.want_of_token += response.status == _DEAD_TOKEN
    tally.unexpected += response.status not in (200, _DEAD_TOKEN)
    tally.latencies.append(clock() - started)
    return True
