"""Latency of calls within 50 ms of a refresh beside that of all others: p99.9 of each, of one and the same run."""

from __future__ import annotations

import asyncio
import time

from rounds import Row
from server import server

from truecaller_vbc import TokenMinted, TokenPolicy, VBCSession

NEAR = 0.05


async def run(rounds: int, scale: float) -> list[Row]:  # noqa: ARG001
    """A row for `token()` and one for `vbc.post`."""
    seconds = 30 * max(scale, 0.2)
    policy = TokenPolicy().scaled(1 / 2400)
    return [
        await _row("token()", policy, seconds, with_request=False),
        await _row("vbc.post", policy, seconds, with_request=True),
    ]


async def _row(name: str, policy: TokenPolicy, seconds: float, *, with_request: bool) -> Row:
    mints: list[float] = []
    calls: list[tuple[float, float]] = []
    lifetime, window = policy.lifetime.total_seconds(), policy.mint_window.total_seconds()
    with server(token_lifetime=lifetime, mint_window=window) as there:
        async with VBCSession(
            there.credentials,
            base_url=there.base_url,
            policy=policy,
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
                    else:
                        await vbc.token()
                    calls.append((started, time.perf_counter() - started))
                    await asyncio.sleep(0.001)

            await asyncio.gather(*(caller() for _ in range(8)))
    near = [took for at, took in calls if any(abs(at - mint) < NEAR for mint in mints[1:])]
    far = [took for at, took in calls if not any(abs(at - mint) < NEAR for mint in mints)]
    ours, beside = _p999(near), _p999(far)
    label = f"{name}: p99.9 around {len(mints) - 1} refreshes ({len(near):,} calls) beside all other calls"
    return Row(label, "us", ours, beside, ours / beside, (ours / beside, ours / beside), 1.2)


def _p999(latencies: list[float]) -> float:
    return sorted(latencies)[int(0.999 * len(latencies))] * 1e6
