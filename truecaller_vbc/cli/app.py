"""Define the commands and their options."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from ..sandbox import SandboxRules
from .account import app as labels
from .account import serve_sandbox, show_token
from .calls.commands import app as calls
from .connection import PREFIX, BaseURL, Connection, Prefix, Store
from .demo import DemoOptions, run_demo
from .failures import exit_with, run_to_code
from .numbers import app as numbers
from .webhooks import app as webhooks

app: typer.Typer = typer.Typer(
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
def demo(
    *,
    seconds: Annotated[float, typer.Option(min=4, help="How long it plays.")] = 20.0,
    callers: Annotated[int, typer.Option(min=1, help="Coroutines in all.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object at the end, and nothing else.")] = False,
) -> None:
    """Share one token among many callers through refreshes, a revocation, an outage and lost connections.

    Runs against the built-in sandbox, with 60 minutes in 3 seconds. The exit code is 0 if no call failed without a
    token and the quota held; 1 if the library broke its promise; 4 if this machine was too slow to tell.
    """
    options = DemoOptions(seconds=seconds, callers=callers, as_json=as_json)
    sys.exit(run_to_code(run_demo(options)))


@app.command()
def token(
    *,
    prefix: Prefix = PREFIX,
    base_url: BaseURL = None,
    store: Store = None,
    show: Annotated[bool, typer.Option("--show", help="Print the token itself, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
) -> None:
    """Get a token with the credentials of the environment, and print its state.

    The token is kept in a file of your cache directory, so that the next command uses it again (see --store).
    Credentials are read from the environment only, since other users can read a command line.
    """
    connection = Connection(prefix=prefix, base_url=base_url, store=store)
    sys.exit(run_to_code(show_token(connection, show=show, as_json=as_json), as_json=as_json))


@app.command()
def sandbox(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8787,
    token_lifetime: Annotated[float, typer.Option(help="Seconds.")] = 3600.0,
    max_mints: Annotated[int, typer.Option(help="In one window.")] = 10,
    mint_window: Annotated[float, typer.Option(help="Seconds.")] = 1800.0,
    over_quota: Annotated[str, typer.Option(help="429, 429-retry-after, 400 or 403.")] = "429",
    dead_token: Annotated[str, typer.Option(help="401, 401-flat or 500.")] = "401",  # noqa: S107
    revoke_previous: Annotated[bool, typer.Option("--revoke-previous", help="A new token ends the old ones.")] = False,
) -> None:
    """Run the sandbox on its own, with generated credentials, until it is stopped."""
    try:
        rules = SandboxRules(
            token_lifetime=token_lifetime,
            max_mints=max_mints,
            mint_window=mint_window,
            over_quota=over_quota,  # type: ignore[arg-type]
            dead_token=dead_token,  # type: ignore[arg-type]
            revoke_previous=revoke_previous,
        )
    except ValueError as error:
        exit_with(error, 2)
    sys.exit(run_to_code(serve_sandbox(rules, port)))
