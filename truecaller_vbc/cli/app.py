"""Define the commands and their options."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .account import app as labels
from .account import sandbox, token
from .calls.commands import app as calls
from .demo import demo
from .numbers import app as numbers
from .options import with_options
from .webhooks import app as webhooks

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    # Typer's own tracebacks would show the locals of every frame.
    pretty_exceptions_enable=False,
    help="One token, many callers, ten mints: Truecaller's Verified Business Caller ID API.",
)
for _name, _group in {"calls": calls, "numbers": numbers, "labels": labels, "webhooks": webhooks}.items():
    app.add_typer(_group, name=_name)


def _version(wanted: bool) -> None:  # noqa: FBT001
    if wanted:
        typer.echo(f"truecaller_vbc {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Take the options that belong to the program, not to a command."""


for _command in (demo, token, sandbox):
    app.command()(with_options(_command))
