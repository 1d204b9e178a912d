"""Measure callers at a cold start, at a refresh under load and when they are cancelled (questions 3, 4 and 5)."""

from __future__ import annotations

import asyncio
import statistics
import time
from itertools import pairwise

from ..sandboxes import call_record
from .adapters import adapter
from .comparison import HOUR, Cell, Comparison, Table
from .peer import Peer

CROWDS = (1, 10, 100, 1_000, 10_000)
FAILING_CROWDS = (1, 10, 100, 1_000)
LIFETIME = 6.0
FIXED_EXTRA = 3.0
LONGEST_WAIT = 66.0
MINT_LATENCY = 0.1
NEAR = 0.05
SAME_REFRESH = 0.5
CALLERS = 16
PAUSE = 0.02
CANCELLED_MINT_LATENCY = 0.4
WAITERS = 10


async def cold_start(comparison: Comparison) -> Table:
    """Count the mints and attempts of many coroutines at a cold start."""
    rows: dict[str, list[Cell]] = {}
    attempts: dict[str, list[int]] = {}
    for name in comparison.refreshing:
        cells: list[Cell] = [await _crowd(comparison, name, crowd) for crowd in CROWDS]
        attempts[name] = [await _failing_crowd(comparison, name, crowd) for crowd in FAILING_CROWDS]
        rows[name] = [*cells, attempts[name][-1]]
    return Table(
        3,
        "A cold start: how many mints for a crowd?",
        "So many coroutines ask at once, without a token. Mints (the most of 3 runs) and wall time (median). "
        "Last column and plot: the token endpoint answers 500, each coroutine asks once, and the attempts are counted. "
        "The sandbox grants any number here; the real server grants 10 in 30 minutes.",
        [*(f"{crowd:,} at once" for crowd in CROWDS), f"{FAILING_CROWDS[-1]:,} at once, 500: attempts"],
        rows,
        {"crowds": FAILING_CROWDS, "attempts": attempts},
    )


async def _crowd(comparison: Comparison, name: str, crowd: int) -> str:
    most, walls = 0, []
    sandbox = comparison.sandbox()
    for _ in range(comparison.pick(3, 1)):
        before = sandbox.mints
        async with comparison.peer(name, sandbox) as peer:
            started = time.perf_counter()
            await asyncio.gather(*(peer.authorization() for _ in range(crowd)))
            walls.append(time.perf_counter() - started)
        most = max(most, sandbox.mints - before)
    sandbox.send("close")
    return f"{most:,} in {statistics.median(walls) * 1000:,.3g} ms"


async def _failing_crowd(comparison: Comparison, name: str, crowd: int) -> int:
    sandbox = comparison.sandbox()
    sandbox.send("outage", endpoint="token", fault={"status": 500})
    async with comparison.peer(name, sandbox) as peer:
        await asyncio.gather(*(peer.authorization() for _ in range(crowd)), return_exceptions=True)
    attempts = int(sandbox.send("stats")["token_requests"])
    sandbox.send("close")
    return attempts


async def refresh_under_load(comparison: Comparison) -> Table:
    """Time calls at a steady rate while tokens expire and are refreshed."""
    rows: dict[str, list[Cell]] = {}
    figures = {}
    for name in comparison.names:
        rows[name], figures[name] = await _under_load(comparison, name)
    return Table(
        4,
        "Expiry under load: who waits, and who fails?",
        f"{CALLERS} callers POST every {PAUSE * 1000:.0f} ms; the token endpoint takes {MINT_LATENCY * 1000:.0f} ms. A "
        f"token lives {LIFETIME:.0f} s, and every window is scaled with it (1/600 of an hour). A peer whose window is "
        f"fixed in minutes gets tokens that live {FIXED_EXTRA:.0f} s longer than that, in real time. A call is near a "
        f"refresh if it overlaps the mint or the {NEAR * 1000:.0f} ms around it. Latencies in ms.",
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


async def _under_load(comparison: Comparison, name: str) -> tuple[list[Cell], dict[str, list[float]]]:
    kind = adapter(name)
    fixed = bool(kind.fixed and kind.window)
    seconds = float(comparison.pick(16, 8))
    lifetime, scale = (kind.window + FIXED_EXTRA, 1.0) if fixed else (LIFETIME, LIFETIME / HOUR)
    sandbox = comparison.sandbox(token_lifetime=lifetime, token_latency=MINT_LATENCY)
    calls: list[tuple[float, float, bool]] = []
    async with comparison.peer(name, sandbox, lifetime=lifetime, scale=scale) as peer:
        await peer.post(peer.target.record_url, call_record())
        begin = time.monotonic()
        await asyncio.gather(*(_caller(peer, calls, begin + seconds) for _ in range(CALLERS)))
        if fixed and sandbox.mints == 1 and not comparison.quick:  # some refresh up to a minute later
            await _until_second_mint(peer, calls, begin + LONGEST_WAIT)
    stats = sandbox.send("stats")
    sandbox.send("close")
    mints = stats["token_requests_at"]
    near: list[float] = []
    far: list[float] = []
    for started, latency, _ in calls:
        is_near = any(at - NEAR < started + latency and started < at + MINT_LATENCY + NEAR for at in mints[1:])
        (near if is_near else far).append(latency * 1000)
    failed = sum(not succeeded for *_, succeeded in calls)
    refused = stats["statuses"].get("401", 0)
    refreshes = sum(at - before > SAME_REFRESH for before, at in pairwise(sorted(mints)))
    cells: list[Cell] = [kind.fixed or "scaled", refreshes, len(mints) - 1, refused, f"{failed:,} of {len(calls):,}"]
    quantiles = {"near": _quantiles(near), "else": _quantiles(far)}
    return [*cells, *map(_quantile_text, quantiles.values())], quantiles


async def _until_second_mint(peer: Peer, calls: list[tuple[float, float, bool]], until: float) -> None:
    """Continue until a refresh has happened, for up to a second more."""
    attempts = peer.attempts
    while time.monotonic() < until and peer.attempts == attempts:
        await asyncio.gather(*(_caller(peer, calls, time.monotonic() + 1) for _ in range(CALLERS)))


async def _caller(peer: Peer, calls: list[tuple[float, float, bool]], until: float) -> None:
    """Send until `until`; append start, latency and success of each call."""
    while (started := time.monotonic()) < until:
        try:
            succeeded = await peer.post(peer.target.record_url, call_record()) == 200
        except Exception:  # each library raises its own errors, and each one is a failed call
            succeeded = False
        calls.append((started, time.monotonic() - started, succeeded))
        await asyncio.sleep(PAUSE)


def _quantiles(latencies: list[float]) -> list[float]:
    ordered = sorted(latencies)
    return [ordered[int(part * len(ordered))] for part in (0.5, 0.99, 0.999)] if ordered else []


def _quantile_text(values: list[float]) -> str:
    return " / ".join(f"{value:,.3g}" for value in values) or "none seen"


async def cancelled_waiter(comparison: Comparison) -> Table:
    """Cancel callers that wait for a mint, as a web server does when its client disconnects."""
    rows: dict[str, list[Cell]] = {}
    for name in comparison.refreshing:
        first, served = await _cancel(comparison, name, 1)
        mints, _ = await _cancel(comparison, name, WAITERS)
        rows[name] = [first, f"{served} of {WAITERS - 1}", mints, "no" if mints == 1 else "yes"]
    return Table(
        5,
        "A waiter is cancelled in mid-mint: is the mint lost?",
        f"{WAITERS} coroutines wait for one mint of {CANCELLED_MINT_LATENCY * 1000:.0f} ms. After a quarter of it the "
        "first is cancelled, or all are; one more asks a second later. One mint is enough for all of them.",
        ["mints, first cancelled", "others served", "mints, all cancelled", "is a paid-for mint lost?"],
        rows,
    )


async def _cancel(comparison: Comparison, name: str, count: int) -> tuple[int, int]:
    """Return the mints, and how many of the waiters that were not cancelled got a token."""
    sandbox = comparison.sandbox(token_latency=CANCELLED_MINT_LATENCY)
    async with comparison.peer(name, sandbox) as peer:
        waiters = [asyncio.create_task(peer.authorization()) for _ in range(WAITERS)]
        await asyncio.sleep(CANCELLED_MINT_LATENCY / 4)
        for waiter in waiters[:count]:
            waiter.cancel()
        results = await asyncio.gather(*waiters, return_exceptions=True)
        await asyncio.sleep(1)
        await peer.authorization()
    mints = sandbox.mints
    sandbox.send("close")
    return mints, sum(isinstance(result, str) for result in results[count:])
