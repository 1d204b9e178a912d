"""The latency of calls within 50 ms of a refresh beside that of all others: p99.9 of each, in one and the same run.

Fair, since both kinds of calls are made by the same coroutines a moment apart. A refresh comes every 1.1 s, well before
the token's end, as with the real numbers, and not more often than the holder looks at its clock anyway, which is once
a second and belongs to the steady state. The server is in a process of its own. The run is cut into parts, and the
median of their ratios is taken: one burst of another process on the machine decides any single p99.9.
"""

from __future__ import annotations

import asyncio
import gc
import time
from array import array
from datetime import timedelta

from rounds import Row, paired
from server import call_record, server

from truecaller_vbc import TokenMinted, TokenPolicy, VBCSession

NEAR = 0.05
CALLERS = 8
POLICY = TokenPolicy(
    lifetime=timedelta(seconds=30),
    refresh_ahead=timedelta(seconds=28.85),
    refresh_jitter=timedelta(seconds=0.05),
    max_mints=1000,
)


async def run(rounds: int, scale: float) -> list[Row]:
    """A row for `token()` and one for `vbc.post`."""
    parts, seconds = max(1, rounds // 3), max(2.5, 15 * scale)
    return [
        await _row("token()", parts, seconds, with_request=False),
        await _row("vbc.post", parts, seconds, with_request=True),
    ]


async def _row(name: str, parts: int, seconds: float, *, with_request: bool) -> Row:
    mints: list[float] = []
    started_at, took = array("d"), array("d")  # nothing that would make the garbage collector slower by and by
    with server(token_lifetime=POLICY.lifetime.total_seconds(), max_mints=1000) as there:
        async with VBCSession(
            there.credentials,
            base_url=there.base_url,
            policy=POLICY,
            on_event=lambda event: mints.append(time.perf_counter()) if isinstance(event, TokenMinted) else None,
        ) as vbc:
            await vbc.token()
            path = f"/v2/clients/{vbc.client_account_id}/dynamic_call_record"
            record = call_record()
            gc.freeze()
            begin = time.perf_counter()

            async def caller() -> None:
                while (started := time.perf_counter()) < begin + seconds:
                    if with_request:
                        async with vbc.post(path, json=record) as response:
                            await response.read()
                            assert response.status == 200  # noqa: S101
                    else:
                        await vbc.token()
                    took.append(time.perf_counter() - started)
                    started_at.append(started)
                    await asyncio.sleep(0.001)

            await asyncio.gather(*(caller() for _ in range(CALLERS)))
            gc.unfreeze()
    pairs = []
    for part in range(parts):
        near, far = array("d"), array("d")
        for at, seconds_of_call in zip(started_at, took, strict=True):
            if int((at - begin) / seconds * parts) == part:
                # The first mint had callers who waited for it: it is no refresh. A call is near if any part of it is.
                touches = any(at - NEAR < mint < at + seconds_of_call + NEAR for mint in mints[1:])
                (near if touches else far).append(seconds_of_call)
        if near and far:
            pairs.append((_p999(near), _p999(far)))
    label = f"{name}: p99.9 around a refresh ({len(mints) - 1} of them, {len(took):,} calls) beside all other calls"
    return paired(label, "us", pairs, target=1.2)


def _p999(latencies: array[float]) -> float:
    return sorted(latencies)[int(0.999 * len(latencies))] * 1e6
