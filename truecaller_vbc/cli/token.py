"""Get a token with the credentials of the environment, and print its state (``truecaller-vbc token``)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import attrs
import typer

from ..session import VBCSession
from ..token.events import StoreUnavailable, TokenEvent
from ..token.model import AccessToken
from .connection import Connection


async def show_token(connection: Connection, *, show: bool, as_json: bool) -> int:
    """Print the status, the ledger, and with `show` the token.

    Raises:
        VBCError: no token could be had.
    """
    events: list[TokenEvent] = []
    async with connection.session(on_event=events.append) as vbc:
        token = await vbc.token()
        facts = _facts(vbc, token, show=show)
    for event in events:
        if isinstance(event, StoreUnavailable):
            typer.echo(f"warning: the store was not used: {event.reason}", err=True)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _print(facts)
    return 0


def _facts(vbc: VBCSession, token: AccessToken, *, show: bool) -> dict[str, Any]:
    status = attrs.asdict(vbc.status())
    last_error = status.pop("last_error")
    facts = {
        "account": vbc.client_account_id,
        "base_url": str(vbc.base_url),
        **{name: _plain(value) for name, value in status.items()},
        "last_error": str(last_error) if last_error else None,
        "ledger": [{"at": _plain(mint.at), "outcome": mint.outcome, "by": mint.by} for mint in vbc.ledger()],
    }
    if show:
        facts["token"] = str(token.value)
    return facts


def _plain(value: object) -> object:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


def _print(facts: dict[str, Any]) -> None:
    ledger = facts.pop("ledger")
    for name, value in facts.items():
        typer.echo(f"{name:16} {'-' if value is None else value}")
    for mint in ledger:
        typer.echo(f"{'attempt':16} {mint['at']}  {mint['outcome']:8} {mint['by']}")
    if "token" not in facts:
        typer.echo("The token itself is printed with --show.")
