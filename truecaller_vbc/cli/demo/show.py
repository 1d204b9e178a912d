"""The play as people see it: a live table on a terminal, a line a second elsewhere, nothing for machines."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import Final

import typer
from rich.live import Live
from rich.table import Table

from ...sandbox import Sandbox
from .company import Company
from .options import POLICY, SCALE, DemoOptions
from .play import Play

_FRAMES: Final = 4


async def show(options: DemoOptions, sandbox: Sandbox, company: Company, play: Play) -> None:
    """Show it until cancelled."""
    if options.as_json:
        await asyncio.Event().wait()
    elif sys.stdout.isatty():  # not rich's is_terminal: FORCE_COLOR makes that true of a pipe
        with Live(auto_refresh=False) as live:
            while True:
                live.update(_table(facts(options, sandbox, company, play)), refresh=True)
                await asyncio.sleep(1 / _FRAMES)
    else:
        while True:
            await asyncio.sleep(1)
            line = facts(options, sandbox, company, play)
            typer.echo("  ".join(f"{name} {value}" for name, value in line.items()))


def facts(options: DemoOptions, sandbox: Sandbox, company: Company, play: Play) -> dict[str, str]:
    """What can be seen now."""
    tally, status = company.tally, company.status()
    shown = {
        "act": play.act,
        "calls": str(tally.calls),
        "for want of a token": str(tally.want_of_token),
        "lost connections": str(tally.lost_connections),
        "mints": str(sandbox.mints),
        "p50/p99": f"{_ms(tally.percentile_ms(0.5))}/{_ms(tally.percentile_ms(0.99))}",
    }
    if status is None:
        return {**shown, "processes": str(options.processes)}
    return {
        **shown,
        "mints left": str(status.mints_left),
        "token": f"{status.fingerprint or '-'} {status.state} {_age(status.expires_at)}",
    }


def _age(expires_at: datetime | None) -> str:
    """The token's age as if an hour were an hour."""
    if expires_at is None:
        return ""
    age = POLICY.lifetime - (expires_at - datetime.now(UTC))
    return f"{age.total_seconds() / SCALE / 60:.0f} min"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _table(shown: dict[str, str]) -> Table:
    table = Table(title="one token, many callers, ten mints (60 min in 3 s)", show_header=False)
    for name, value in shown.items():
        table.add_row(name, value)
    return table
