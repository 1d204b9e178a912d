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
from ..sandbox import Sandbox
from ..session import VBCSession
from .options import flag, option
from .output import is_terminal
from .verdict import POLICY, RULES, SCALE, Figures

_PAUSE: Final = (0.5, 1.5)
_DEAD_TOKEN: Final = 401
_WINDOW_MS: Final = 3_600_000
_LAG_INTERVAL: Final = 0.02
_RECORD: Final[dict[str, str | int]] = {
    "label_id": "c6d86658-008d-4c08-98fb-2bf2649d59a5",
    "dynamic_call_reason": "Flower Delivery",
    "caller_number": "911234567890",
    "receiver_number": "919876543210",
}


async def run_callers(vbc: VBCSession, callers: int, figures: Figures) -> None:
    """Make calls until cancelled; an exception ends all callers and is counted."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(measure_loop_lag(figures))
            for _ in range(callers):
                group.create_task(_caller(vbc, figures))
    except Exception:
        figures.crashed = True


async def measure_loop_lag(figures: Figures) -> None:
    """Note the longest delay of this event loop, until cancelled."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + _LAG_INTERVAL
        await asyncio.sleep(_LAG_INTERVAL)
        figures.loop_lag = max(figures.loop_lag, clock() - due)


async def _caller(vbc: VBCSession, figures: Figures) -> None:
    await asyncio.sleep(random.uniform(0, _PAUSE[1]))
    while True:
        await _call(vbc, figures)
        await asyncio.sleep(random.uniform(*_PAUSE))


async def _call(vbc: VBCSession, figures: Figures) -> None:
    """Make one call; if its connection is lost, it is made again after the pause."""
    clock = asyncio.get_running_loop().time
    started = clock()
    now = int(time.time() * 1000)
    record = _RECORD | {"starts_at": now, "ends_at": now + _WINDOW_MS}
    try:
        path = f"/v2/clients/{vbc.client_account_id}/dynamic_call_record"
        async with vbc.post(path, json=record) as response:
            await response.read()
    except TokenError:
        figures.token_failures += 1
    except (aiohttp.ClientError, TimeoutError):
        figures.lost_connections += 1
    else:
        figures.calls += 1
        figures.token_failures += response.status == _DEAD_TOKEN
        figures.unexpected += response.status not in (200, _DEAD_TOKEN)
        figures.latencies.append(clock() - started)


_POLL: Final = 0.005
_TIME_FOR_DELAYS: Final = 32.0
_TOKEN_IN_USE: Final = 0.8
_OUTAGE_FROM: Final = 1.4
_OUTAGE_UNTIL: Final = 2.4
_REFUSALS_WANTED: Final = 3


@attrs.frozen(kw_only=True)
class DemoOptions:
    """The options of the command."""

    seconds: float = option("How long it plays.", default=20.0, min=4)
    callers: int = option("Coroutines in all.", default=1000, min=1)
    as_json: bool = flag("One JSON object at the end, and nothing else.", name="--json")


@attrs.define(eq=False, slots=False)
class Scenario:
    """Play the faults in a fixed order, timed so that a correct token holder loses no call.

    Args:
        sandbox: the server.
        figures: the callers' counts.
        seconds: how long; longer if the phases need it.
    """

    sandbox: Sandbox
    _figures: Figures
    _seconds: float
    phase: str = attrs.field(default="ordinary refreshes", init=False)
    faults: list[str] = attrs.field(factory=list[str], init=False)

    def __attrs_post_init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._started = self._minted_at = self._clock()

    async def run(self) -> None:
        """Play all phases."""
        while not self._figures.calls:
            await asyncio.sleep(_POLL)
        self._started = self._clock()
        await self._until(0.1)
        await self._next_mint()
        # A token that is refused right after its arrival is not replaced, so let it be in use for a while first.
        await asyncio.sleep(_TOKEN_IN_USE)
        self._begin("revocation of every token")
        self.sandbox.revoke_all()
        await self._next_mint()
        await self._until(0.4)
        await self._outage()
        await self._until(0.7)
        self._begin("all connections killed")
        await self.sandbox.drop_connections()
        await asyncio.sleep(1)
        self.phase = "ordinary refreshes"
        await self._until(1)

    async def _outage(self) -> None:
        """Refuse mints from the refresh point on, and recover before the token ends."""
        if self._clock() > self._minted_at + _OUTAGE_FROM:
            await self._next_mint()
        await asyncio.sleep(self._minted_at + _OUTAGE_FROM - self._clock())
        self._begin("token endpoint down (503)")
        self.sandbox.set_outage("token", status=503)
        enough = self.sandbox.token_requests + _REFUSALS_WANTED
        while self.sandbox.token_requests < enough and self._clock() < self._minted_at + _OUTAGE_UNTIL:
            await asyncio.sleep(_POLL)
        self.sandbox.end_outage("token")

    async def _next_mint(self) -> None:
        mints = self.sandbox.mints
        while self.sandbox.mints == mints:
            await asyncio.sleep(_POLL)
        self._minted_at = self._clock()

    async def _until(self, share: float) -> None:
        await asyncio.sleep(self._started + share * self._seconds - self._clock())

    def _begin(self, fault: str) -> None:
        self.phase = fault
        self.faults.append(fault)


async def demo(*, options: DemoOptions) -> int:
    """Share one token among many callers through refreshes, a revocation, an outage and lost connections.

    Runs against the built-in sandbox, with 60 minutes in 3 seconds. The exit code is 0 if no call failed without a
    token and the quota held; 1 if the library broke its promise; 4 if this machine was too slow to tell.
    """
    figures = Figures()
    async with (
        Sandbox(RULES) as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=POLICY) as vbc,
        _in_background(run_callers(vbc, options.callers, figures)) as calling,
    ):
        scenario = Scenario(sandbox, figures, options.seconds)
        async with _in_background(_show(options, vbc, figures, scenario)):
            figures.cut_short = await play_to_end(scenario, calling, options.seconds + _TIME_FOR_DELAYS)
    figures.count_mints(sandbox)
    if options.as_json:
        typer.echo(json.dumps(figures.to_dict() | attrs.asdict(options) | {"faults": scenario.faults}))
    else:
        typer.echo(str(figures))
    return figures.exit_code


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


async def _show(options: DemoOptions, vbc: VBCSession, figures: Figures, scenario: Scenario) -> None:
    """Show the figures until cancelled, in a live table on a terminal, or a line each second elsewhere."""
    if options.as_json:
        return
    if is_terminal(sys.stdout):
        with Live(get_renderable=lambda: _table(_shown(vbc, figures, scenario)), refresh_per_second=4):
            await asyncio.Event().wait()
    while True:
        await asyncio.sleep(1)
        typer.echo("  ".join(f"{name} {value}" for name, value in _shown(vbc, figures, scenario).items()))


def _shown(vbc: VBCSession, figures: Figures, scenario: Scenario) -> dict[str, str]:
    status = vbc.status()
    middle, most = figures.percentile_ms(0.5) or 0.0, figures.percentile_ms(0.99) or 0.0
    age = POLICY.lifetime - ((status.expires_at or datetime.now(UTC)) - datetime.now(UTC))
    # The token's age is shown as if an hour took an hour.
    minutes = f"{age.total_seconds() / SCALE / 60:.0f} min" if status.expires_at else ""
    return {
        "phase": scenario.phase,
        "calls": str(figures.calls),
        "failed without a token": str(figures.token_failures),
        "lost connections": str(figures.lost_connections),
        "mints": str(scenario.sandbox.mints),
        "p50/p99": f"{middle:.1f} ms/{most:.1f} ms",
        "mints left": str(status.mints_left),
        "token": f"{status.fingerprint or '-'} {status.state} {minutes}",
    }


def _table(figures: dict[str, str]) -> Table:
    table = Table(title="one token, many callers, ten mints (60 minutes in 3 seconds)", show_header=False)
    for name, value in figures.items():
        table.add_row(name, value)
    return table
