"""Run the demo, which starts the sandbox and many callers, plays faults on schedule, and shows a live table."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import AsyncGenerator, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
import attrs
import typer
from rich.live import Live
from rich.table import Table

from ..errors import TokenError
from ..sandbox import ApiRules, Sandbox, SandboxRules
from ..session import VBCSession
from ..token.policy import TokenPolicy
from .verdict import Stats, judge

_PAUSE: Final = (0.5, 1.5)
_DEAD_TOKEN: Final = 401
_WINDOW_MS: Final = 3_600_000
_LAG_INTERVAL: Final = 0.02


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


SCALE: Final = 1 / 1200
POLICY: Final = TokenPolicy().scaled(SCALE)
RULES: Final = SandboxRules(
    token_lifetime=POLICY.lifetime.total_seconds(),
    mint_window=POLICY.mint_window.total_seconds(),
    max_mints=POLICY.max_mints,
    # A thousand callers with one token exceed 100 calls a second: the demo is about tokens, not about rates.
    api=ApiRules(realtime_per_second=None),
)

_POLL: Final = 0.005
_FRAMES_PER_SECOND: Final = 4
_TIME_FOR_DELAYS: Final = 32.0
_TOKEN_IN_USE: Final = 0.8
_OUTAGE_FROM: Final = 1.4
_OUTAGE_UNTIL: Final = 2.4
_REFUSALS_WANTED: Final = 3


@attrs.frozen(kw_only=True)
class DemoOptions:
    """The options of the command."""

    seconds: float = 20.0
    callers: int = 1000
    as_json: bool = False


class Scenario:
    """Play the faults in a fixed order, timed so that a correct token holder loses no call.

    Args:
        sandbox: the server.
        stats: the callers' counts.
        seconds: how long; longer if the phases need it.
    """

    def __init__(self, sandbox: Sandbox, stats: Stats, seconds: float) -> None:
        self._sandbox = sandbox
        self._stats = stats
        self._seconds = seconds
        self._clock = asyncio.get_running_loop().time
        self._started = self._minted_at = self._clock()
        self.phase: str = "ordinary refreshes"
        self.faults: list[str] = []

    async def run(self) -> None:
        """Play all phases."""
        while not self._stats.calls:
            await asyncio.sleep(_POLL)
        self._started = self._clock()
        await self._until(0.1)
        await self._next_mint()
        # A token that is refused right after its arrival is not replaced, so let it be in use for a while first.
        await asyncio.sleep(_TOKEN_IN_USE)
        self._begin("revocation of every token")
        self._sandbox.revoke_all()
        await self._next_mint()
        await self._until(0.4)
        await self._outage()
        await self._until(0.7)
        self._begin("all connections killed")
        await self._sandbox.drop_connections()
        await asyncio.sleep(1)
        self.phase = "ordinary refreshes"
        await self._until(1)

    async def _outage(self) -> None:
        """Refuse mints from the refresh point on, and recover before the token ends."""
        if self._clock() > self._minted_at + _OUTAGE_FROM:
            await self._next_mint()
        await asyncio.sleep(self._minted_at + _OUTAGE_FROM - self._clock())
        self._begin("token endpoint down (503)")
        self._sandbox.set_outage("token", status=503)
        enough = self._sandbox.token_requests + _REFUSALS_WANTED
        while self._sandbox.token_requests < enough and self._clock() < self._minted_at + _OUTAGE_UNTIL:
            await asyncio.sleep(_POLL)
        self._sandbox.end_outage("token")

    async def _next_mint(self) -> None:
        mints = self._sandbox.mints
        while self._sandbox.mints == mints:
            await asyncio.sleep(_POLL)
        self._minted_at = self._clock()

    async def _until(self, share: float) -> None:
        await asyncio.sleep(self._started + share * self._seconds - self._clock())

    def _begin(self, fault: str) -> None:
        self.phase = fault
        self.faults.append(fault)


async def run_demo(options: DemoOptions) -> int:
    """Run the scenario, show it, and return the verdict's exit code."""
    stats = Stats()
    async with (
        Sandbox(RULES) as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=POLICY) as vbc,
        _in_background(run_callers(vbc, options.callers, stats)) as calling,
    ):
        scenario = Scenario(sandbox, stats, options.seconds)
        async with _in_background(_show(options, sandbox, vbc, stats, scenario)):
            cut_short = await play_to_end(scenario, calling, options.seconds + _TIME_FOR_DELAYS)
    verdict = judge(stats, sandbox, RULES, POLICY, cut_short)
    if options.as_json:
        given = {"seconds": options.seconds, "callers": options.callers}
        typer.echo(json.dumps({**verdict.to_dict(), **given, "faults": scenario.faults}))
    else:
        typer.echo(str(verdict))
    return verdict.exit_code


async def play_to_end(scenario: Scenario, calling: asyncio.Task[None], limit: float) -> str | None:
    """Play until the scenario ends, the callers stop, or `limit` seconds pass.

    Returns:
        Why the scenario did not reach its end, or None.
    """
    async with _in_background(scenario.run()) as playing:
        await asyncio.wait([playing, calling], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            playing.result()
            return None
        return "the callers stopped" if calling.done() else f"the scenario halted in the phase: {scenario.phase}"


@contextlib.asynccontextmanager
async def _in_background(coroutine: Coroutine[Any, Any, None]) -> AsyncGenerator[asyncio.Task[None]]:
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _show(options: DemoOptions, sandbox: Sandbox, vbc: VBCSession, stats: Stats, scenario: Scenario) -> None:
    """Show the figures until cancelled, in a live table on a terminal, or a line each second elsewhere."""
    if options.as_json:
        return
    if sys.stdout.isatty():  # rich's own is_terminal is also true for a pipe when FORCE_COLOR is set
        with Live(auto_refresh=False) as live:
            while True:
                live.update(_table(_figures(sandbox, vbc, stats, scenario)), refresh=True)
                await asyncio.sleep(1 / _FRAMES_PER_SECOND)
    while True:
        await asyncio.sleep(1)
        figures = _figures(sandbox, vbc, stats, scenario)
        typer.echo("  ".join(f"{name} {value}" for name, value in figures.items()))


def _figures(sandbox: Sandbox, vbc: VBCSession, stats: Stats, scenario: Scenario) -> dict[str, str]:
    status = vbc.status()
    return {
        "phase": scenario.phase,
        "calls": str(stats.calls),
        "failed without a token": str(stats.token_failures),
        "lost connections": str(stats.lost_connections),
        "mints": str(sandbox.mints),
        "p50/p99": f"{_ms(stats.percentile_ms(0.5))}/{_ms(stats.percentile_ms(0.99))}",
        "mints left": str(status.mints_left),
        "token": f"{status.fingerprint or '-'} {status.state} {_age(status.expires_at)}",
    }


def _age(expires_at: datetime | None) -> str:
    """Return the token's age as if an hour took an hour."""
    if expires_at is None:
        return ""
    age = POLICY.lifetime - (expires_at - datetime.now(UTC))
    return f"{age.total_seconds() / SCALE / 60:.0f} min"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _table(figures: dict[str, str]) -> Table:
    table = Table(title="one token, many callers, ten mints (60 minutes in 3 seconds)", show_header=False)
    for name, value in figures.items():
        table.add_row(name, value)
    return table
