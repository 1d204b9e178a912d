"""Show the account's token, labels, and the sandbox that stands in for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from datetime import datetime
from typing import Any

import attrs
import typer

from ..errors import ConfigurationError
from ..sandbox import Sandbox, SandboxRules
from ..session import VBCSession
from ..token.events import StoreUnavailable, TokenEvent
from ..token.model import AccessToken
from .connection import PREFIX, AsJSON, BaseURL, Connection, Prefix, Store
from .failures import DONE, run_to_code
from .output import print_json, print_table


async def show_token(connection: Connection, *, show: bool, as_json: bool) -> int:
    """Print the status, the ledger, and with `show` the token.

    Raises:
        VBCError: no token could be had.
    """
    events: list[TokenEvent] = []
    async with connection.open(on_event=events.append) as vbc:
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


app: typer.Typer = typer.Typer(no_args_is_help=True, help="The labels of the account.")


@app.callback()
def labels() -> None:
    """List the labels of the account. Labels are created in the console."""


@app.command("list")
def list_labels(
    *, prefix: Prefix = PREFIX, base_url: BaseURL = None, store: Store = None, as_json: AsJSON = False
) -> None:
    """List the labels of the account; call records take the ID of a dynamic one.

    Exit codes: 0 done, 2 a wrong setting, 3 not available now.
    """

    async def main() -> int:
        async with connection.open() as vbc:
            found = await vbc.labels.list()
        if as_json:
            print_json(found)
        else:
            print_table(("label", "name", "type"), [(it.id, it.name, it.label_type) for it in found])
        return DONE

    connection = Connection(prefix=prefix, base_url=base_url, store=store)
    sys.exit(run_to_code(main(), as_json=as_json))


async def serve_sandbox(rules: SandboxRules, port: int) -> int:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: the port is taken.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        async with Sandbox(rules, port=port) as sandbox:
            _print_exports(sandbox)
            await stopped.wait()
    except OSError as error:
        raise ConfigurationError(f"--port {port} cannot be used ({error.strerror}): take another, or 0") from None
    return 0


def _print_exports(sandbox: Sandbox) -> None:
    credentials = sandbox.credentials
    typer.echo("# A sandbox with credentials that it made up. In another terminal:")
    typer.echo(f"export TRUECALLER_VBC_BASE_URL={sandbox.base_url}")
    typer.echo(f"export TRUECALLER_VBC_CLIENT_ACCOUNT_ID={credentials.client_account_id}")
    typer.echo(f"export TRUECALLER_VBC_KEY_ID={credentials.key_id}")
    typer.echo(f"export TRUECALLER_VBC_API_KEY={credentials.api_key!s}")
