"""The latency of calls within 50 ms of a refresh beside that of all others: p99.9 of each, in one and the same run.

Fair, since both kinds of calls are made by the same coroutines a moment apart. The policy is scaled so that a refresh
comes about every second; the server, in a process of its own, lets tokens live and mints as the policy says. The run is
cut into rounds at refreshes, and the median of the rounds' ratios is taken: one burst of another process on the
machine decides any single p99.9.
"""

from __future__ import annotations

import asyncio
import time

from rounds import Row, paired
from server import server

from truecaller_vbc import TokenMinted, TokenPolicy, VBCSession

NEAR = 0.05
CALLERS = 8
REFRESHES_OF_A_ROUND = 3
POLICY = TokenPolicy().scaled(1 / 2400)  # 1.5 s, stale between 1 and 1.125 s
Call = tuple[float, float]


async def run(rounds: int, scale: float) -> list[Row]:
    """A row for `token()` and one for `vbc.post`."""
    seconds = 19 * scale if rounds > REFRESHES_OF_A_ROUND else 3.9
    return [
        await _row("token()", seconds, with_request=False),
        await _row("vbc.post", seconds, with_request=True),
    ]


async def _row(name: str, seconds: float, *, with_request: bool) -> Row:
    mints: list[float] = []
    calls: list[Call] = []
    lifetime, window = POLICY.lifetime.total_seconds(), POLICY.mint_window.total_seconds()
    with server(token_lifetime=lifetime, mint_window=window) as there:
        async with VBCSession(
            there.credentials,
            base_url=there.base_url,
            policy=POLICY,
            on_event=lambda event: mints.append(time.perf_counter()) if isinstance(event, TokenMinted) else None,
        ) as vbc:
            await vbc.token()
            end = time.perf_counter() + seconds
            path = f"/v2/clients/{vbc.client_account_id}/dynamic_call_record"

            async def caller() -> None:
                while (started := time.perf_counter()) < end:
                    if with_request:
                        async with vbc.post(path, json={}) as response:
                            await response.read()
                            assert response.status == 200  # noqa: S101
                    else:
                        await vbc.token()
                    calls.append((started, time.perf_counter() - started))
                    await asyncio.sleep(0.001)

            await asyncio.gather(*(caller() for _ in range(CALLERS)))
    refreshes = mints[1:]  # the first mint had callers who waited for it: it is no refresh
    pairs = [
        _around(refreshes[first : first + REFRESHES_OF_A_ROUND], calls)
        for first in range(0, len(refreshes) - REFRESHES_OF_A_ROUND + 1, REFRESHES_OF_A_ROUND)
    ]
    label = f"{name}: p99.9 around a refresh ({len(refreshes)} of them, {len(calls):,} calls) beside all other calls"
    return paired(label, "us", pairs, target=1.2)


def _around(refreshes: list[float], calls: list[Call]) -> tuple[float, float]:
    first, last = refreshes[0] - 0.9, refreshes[-1] + NEAR
    near: list[float] = []
    far: list[float] = []
    for started, took in calls:
        if first < started < last:
            # A call is near if any part of it is.
            touches = any(started < mint + NEAR and started + took > mint - NEAR for mint in refreshes)
            (near if touches else far).append(took)
    return _p999(near), _p999(far)


def _p999(latencies: list[float]) -> float:
    return sorted(latencies)[int(0.999 * len(latencies))] * 1e6
