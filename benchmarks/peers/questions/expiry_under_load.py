"""Calls at a steady rate while tokens come and go."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

from server import call_record

from ..adapters import adapter
from ..bench import HOUR, Answer, Bench, Cell
from ..peer import Peer

LIFETIME = 6.0
FIXED_FOR = 3.0
LONGEST_WAIT = 66.0
TOKEN_LATENCY = 0.1
NEAR = 0.05
ONE_REFRESH = 0.5
CALLERS = 16
PAUSE = 0.02


async def ask(bench: Bench) -> Answer:
    rows: dict[str, list[Cell]] = {}
    figures = {}
    for name in bench.names:
        rows[name], figures[name] = await _under_load(bench, name)
    return Answer(
        4,
        "Expiry under load: who waits, and who fails?",
        f"{CALLERS} callers POST every {PAUSE * 1000:.0f} ms; the token endpoint takes {TOKEN_LATENCY * 1000:.0f} "
        "ms. A token lives "
        f"{LIFETIME:.0f} s, and every window is scaled with it (1/600 of an hour). A peer whose window is fixed "
        "in minutes gets "
        f"tokens that live {FIXED_FOR:.0f} s longer than that, in real time, so that its refresh is seen as it is. "
        f"A call is near a refresh if it overlaps the mint or the {NEAR * 1000:.0f} ms around it. Latencies in ms.",
        [
            "window",
            "refreshes",
            "mints for them",
            "401s",
            "failed calls",
            "near: p50 / p99 / p99.9",
            "else: p50 / p99 / p99.9",
        ],
        rows,
        figures,
    )


async def _under_load(bench: Bench, name: str) -> tuple[list[Cell], dict[str, list[float]]]:
    kind = adapter(name)
    seconds = float(bench.pick(16, 8))
    lifetime, scale = (kind.window + FIXED_FOR, 1.0) if kind.fixed and kind.window else (LIFETIME, LIFETIME / HOUR)
    house = bench.farm.house(token_lifetime=lifetime, token_latency=TOKEN_LATENCY)
    calls: list[tuple[float, float, bool]] = []
    async with bench.peer(name, house, lifetime=lifetime, scale=scale) as peer:
        await peer.post(peer.wire.record_url, call_record())
        begin = time.monotonic()
        await asyncio.gather(*(_caller(peer, calls, begin + seconds) for _ in range(CALLERS)))
        if kind.fixed and kind.window and house.mints == 1 and not bench.quick:  # some wait for up to a minute more
            await _until_second_mint(peer, calls, begin + LONGEST_WAIT)
    stats = house.tell("stats")
    house.tell("close")
    mints = stats["token_calls_at"][1:]
    near: list[float] = []
    far: list[float] = []
    for started, took, _ in calls:
        touches = any(at - NEAR < started + took and started < at + TOKEN_LATENCY + NEAR for at in mints)
        (near if touches else far).append(took * 1000)
    failed = sum(not fine for *_, fine in calls)
    refused = stats["statuses"].get("401", 0)
    refreshes = sum(at - before > ONE_REFRESH for before, at in pairwise(sorted(stats["token_calls_at"])))
    cells: list[Cell] = [kind.fixed or "scaled", refreshes, len(mints), refused, f"{failed:,} of {len(calls):,}"]
    return [*cells, _quantiles(near), _quantiles(far)], {"near": _three(near), "else": _three(far)}


async def _until_second_mint(peer: Peer, calls: list[tuple[float, float, bool]], until: float) -> None:
    """Go on until there was a refresh, and a second longer."""
    seen = peer.attempts
    while time.monotonic() < until and peer.attempts == seen:
        await asyncio.gather(*(_caller(peer, calls, time.monotonic() + 1) for _ in range(CALLERS)))


async def _caller(peer: Peer, calls: list[tuple[float, float, bool]], until: float) -> None:
    while (started := time.monotonic()) < until:
        try:
            fine = await peer.post(peer.wire.record_url, call_record()) == 200
        except Exception:  # whatever a peer raises is a failed call
            fine = False
        calls.append((started, time.monotonic() - started, fine))
        await asyncio.sleep(PAUSE)


def _three(latencies: list[float]) -> list[float]:
    ordered = sorted(latencies)
    return [ordered[int(part * len(ordered))] for part in (0.5, 0.99, 0.999)] if ordered else []


def _quantiles(latencies: list[float]) -> str:
    return " / ".join(f"{value:,.3g}" for value in _three(latencies)) or "none seen"
