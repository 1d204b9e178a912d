"""List the labels of the account (``truecaller-vbc labels``)."""

from __future__ import annotations

import sys

import typer

from .connection import PREFIX, AsJSON, BaseURL, Connection, Prefix, Store
from .failures import DONE, run_to_code
from .tables import print_json, print_table

app = typer.Typer(no_args_is_help=True, help="The labels of the account.")


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
        async with connection.session() as vbc:
            found = await vbc.labels.list()
        if as_json:
            print_json(found)
        else:
            print_table(("label", "name", "type"), [(it.id, it.name, it.label_type) for it in found])
        return DONE

    connection = Connection(prefix=prefix, base_url=base_url, store=store)
    sys.exit(run_to_code(main()))
