"""Show the account's token, labels, and the sandbox that stands in for it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from datetime import datetime
from typing import Annotated, Any

import attrs
import typer

from ..errors import ConfigurationError
from ..sandbox import Sandbox, SandboxRules
from ..session import VBCSession
from ..token.events import StoreUnavailable, TokenEvent
from ..token.model import AccessToken
from .connection import PREFIX, Connection
from .failures import DONE, port_in_use
from .options import AsJSON, flag, option, with_options
from .output import print_all, print_json


async def token(
    *,
    connection: Connection,
    show: Annotated[bool, typer.Option("--show", help="Print the token itself, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
) -> int:
    """Get a token with the credentials of the environment, and print its state.

    The token is kept in a file of your cache directory, so that the next command uses it again (see --store).
    Credentials are read from the environment only, since other users can read a command line.
    """
    events: list[TokenEvent] = []
    async with connection.open(on_event=events.append) as vbc:
        facts = _facts(vbc, await vbc.token(), show=show)
    for event in events:
        if isinstance(event, StoreUnavailable):
            typer.echo(f"warning: the store was not used: {event.reason}", err=True)
    if as_json:
        print_json(facts)
        return DONE
    ledger = facts.pop("ledger")
    for name, value in facts.items():
        typer.echo(f"{name:16} {'-' if value is None else value}")
    for mint in ledger:
        typer.echo(f"{'attempt':16} {mint['at']}  {mint['outcome']:8} {mint['by']}")
    if not show:
        typer.echo("The token itself is printed with --show.")
    return DONE


def _facts(vbc: VBCSession, token: AccessToken, *, show: bool) -> dict[str, Any]:
    status = {name: _plain(value) for name, value in attrs.asdict(vbc.status()).items()}
    facts = {"account": vbc.client_account_id, "base_url": str(vbc.base_url), **status}
    facts["last_error"] = str(facts.pop("last_error") or "") or None
    facts["ledger"] = [{"at": _plain(mint.at), "outcome": mint.outcome, "by": mint.by} for mint in vbc.ledger()]
    return facts | ({"token": str(token.value)} if show else {})


def _plain(value: object) -> object:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


app: typer.Typer = typer.Typer(no_args_is_help=True, help="The labels of the account.")


@app.callback()
def labels() -> None:
    """List the labels of the account. Labels are created in the console."""


@app.command("list")
@with_options
async def list_labels(*, connection: Connection, as_json: AsJSON = False) -> int:
    """List the labels of the account; call records take the ID of a dynamic one.

    Exit codes: 0 done, 2 a wrong setting, 3 not available now.
    """
    async with connection.open() as vbc:
        print_all(await vbc.labels.list(), {"label": "id", "name": "name", "type": "label_type"}, as_json=as_json)
    return DONE


@attrs.frozen(kw_only=True)
class SandboxOptions:
    """Hold the options of the command; see `SandboxRules`."""

    port: int = option("0: any free one.", default=8787, min=0, max=65535)
    token_lifetime: float = option("Seconds.", default=3600.0)
    max_mints: int = option("In one window.", default=10)
    mint_window: float = option("Seconds.", default=1800.0)
    over_quota: str = option("429, 429-retry-after, 400 or 403.", default="429")
    dead_token: str = option("401, 401-flat or 500.", default="401")
    revoke_previous: bool = flag("A new token ends the old ones.")


async def sandbox(*, options: SandboxOptions) -> int:
    """Run the sandbox on its own, with generated credentials, until it is stopped."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        rules = SandboxRules(**attrs.asdict(options, filter=attrs.filters.exclude("port")))
        async with Sandbox(rules, port=options.port) as served:
            typer.echo("# A sandbox with credentials that it made up. In another terminal:")
            typer.echo(f"export {PREFIX}BASE_URL={served.base_url}")
            for name, value in attrs.asdict(served.credentials).items():
                typer.echo(f"export {PREFIX}{name.upper()}={value!s}")
            await stopped.wait()
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    except OSError as error:
        raise port_in_use(options.port, error) from None
    return DONE
