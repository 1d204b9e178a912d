"""Define the commands and their options."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import attrs
import typer

from ..sandbox import SandboxRules
from .account import app as labels
from .account import serve_sandbox, show_token
from .calls.commands import app as calls
from .connection import Connection
from .demo import DemoOptions, run_demo
from .failures import exit_with
from .numbers import app as numbers
from .options import option, with_options
from .webhooks import app as webhooks

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Typer's own tracebacks would show the locals of every frame.
    pretty_exceptions_enable=False,
    help="One token, many callers, ten mints: Truecaller's Verified Business Caller ID API.",
)
app.add_typer(calls, name="calls")
app.add_typer(numbers, name="numbers")
app.add_typer(labels, name="labels")
app.add_typer(webhooks, name="webhooks")


def _version(wanted: bool) -> None:  # noqa: FBT001
    if wanted:
        try:
            number = version("truecaller_vbc")
        except PackageNotFoundError:
            number = "of a checkout that is not installed"
        typer.echo(f"truecaller_vbc {number}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Take the options that belong to the program, not to a command."""


@app.command()
@with_options
async def demo(*, options: DemoOptions) -> int:
    """Share one token among many callers through refreshes, a revocation, an outage and lost connections.

    Runs against the built-in sandbox, with 60 minutes in 3 seconds. The exit code is 0 if no call failed without a
    token and the quota held; 1 if the library broke its promise; 4 if this machine was too slow to tell.
    """
    return await run_demo(options)


@app.command()
@with_options
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
    return await show_token(connection, show=show, as_json=as_json)


@attrs.frozen(kw_only=True)
class SandboxOptions:
    """Hold the options of the command; see `SandboxRules`."""

    port: int = option("0: any free one.", default=8787, min=0, max=65535)
    token_lifetime: float = option("Seconds.", default=3600.0)
    max_mints: int = option("In one window.", default=10)
    mint_window: float = option("Seconds.", default=1800.0)
    over_quota: str = option("429, 429-retry-after, 400 or 403.", default="429")
    dead_token: str = option("401, 401-flat or 500.", default="401")
    revoke_previous: bool = option("A new token ends the old ones.", name="--revoke-previous", default=False)


@app.command()
@with_options
async def sandbox(*, options: SandboxOptions) -> int:
    """Run the sandbox on its own, with generated credentials, until it is stopped."""
    try:
        rules = SandboxRules(**attrs.asdict(options, filter=attrs.filters.exclude("port")))
    except ValueError as error:
        exit_with(error, 2)
    return await serve_sandbox(rules, options.port)
