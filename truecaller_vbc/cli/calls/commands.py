"""Define the ``calls`` commands and their options."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, cast

import typer

from ...api.calls import Version
from ...api.models import BatchStatus, Status
from ...errors import ConfigurationError, StillPendingError
from ..connection import PREFIX, AsJSON, BaseURL, Connection, Prefix, Store
from ..failures import DONE, IN_PART, NOTHING_SENT, STOPPED, exit_with, run_to_code
from ..output import plain, print_json, print_table
from .push import PushOptions, push
from .reading import Format


async def show_batch(connection: Connection, batch: str, *, wait: float | None, version: Version, as_json: bool) -> int:
    """Print a batch's status; return 0 if every record succeeded, 1 if one failed, 3 if some are not final.

    Raises:
        VBCError: it cannot be had.
    """
    async with connection.open() as vbc:
        if wait is None:
            status = await vbc.calls.batch_status(batch, version=version)
        else:
            try:
                status = await vbc.calls.wait_for_batch(batch, timeout=wait, version=version)
            except StillPendingError as error:
                if error.done is None:
                    raise
                status = cast(BatchStatus, error.done)
    if as_json:
        facts = {"batch_id": status.batch_id, "final": status.final, "counts": status.counts, "records": status.data}
        print_json(facts)
    else:
        _print(status)
    if not status.final:
        return STOPPED
    return DONE if set(status.counts) == {Status.SUCCESS} else IN_PART


def _print(status: BatchStatus) -> None:
    rows = [(it.receiver_number, it.status or "not known yet", it.status_info.message, it.id) for it in status.data]
    if rows:
        print_table(("receiver", "status", "message", "record"), rows)
    counts = ", ".join(f"{count} {plain(word) or 'not known yet'}" for word, count in status.counts.items())
    typer.echo(f"batch {plain(status.batch_id)}: {counts or 'no records yet'}")
    if not status.final:
        typer.echo("it is not final: ask again later, or wait for it with --wait SECONDS", err=True)


app = typer.Typer(no_args_is_help=True, help="Tell the API of calls to come.")


# Typer keeps line breaks inside a paragraph, so each paragraph is one line.
_PUSH: Final = """Send the records of FILE, however many, in batches of 500 and at most 60 of these in a minute.

A CSV file has a header, a JSON lines file one object on each line. The names are caller_number, receiver_number, \
starts_at, ends_at (ISO 8601 with a zone, or epoch milliseconds), label_id, dynamic_label_name, dynamic_call_reason. \
Everything is checked first, and nothing is sent if there is a problem.

Whatever ends it, the same command goes on where it was: the journal says what was sent. Records whose answer was lost \
are "unknown" in the results, and are never sent again by themselves. Ctrl-C waits for the answers to what has left; a \
second one does not.

Exit codes:

0  every record was acknowledged, or --check found no problem

1  done, but some records were refused, are invalid, or of unknown outcome

2  a wrong setting or input; nothing was sent

3  stopped before the end (no token, no network, everything refused): run it again

130  interrupted: run it again
"""
_STATUS: Final = """Say what became of each record of a batch.

The object of --json has: batch_id, final, counts (by status), records.

Exit codes:

0  every record succeeded

1  some failed

2  a wrong setting

3  not final yet, or it cannot be told now
"""


class APIVersion(StrEnum):
    """Name the version of the batch endpoint."""

    V3 = "v3"
    V2 = "v2"


VersionOption = Annotated[
    APIVersion, typer.Option("--api-version", help="Of the batch endpoint; v2 is the previous one.")
]


@app.command("push", help=_PUSH)
def push_file(  # noqa: D103 - its help is what it says
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or JSON lines; - for standard input.")],
    *,
    label_id: Annotated[str | None, typer.Option(help="The dynamic label of records that name none.")] = None,
    no_label: Annotated[bool, typer.Option("--no-label", help="Records that name no label have none.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look for problems; nothing is sent.")] = False,
    skip_invalid: Annotated[bool, typer.Option("--skip-invalid", help="Send the others nevertheless.")] = False,
    results: Annotated[
        Path | None, typer.Option(help="What became of each record, CSV or .jsonl; else FILE.results.csv.")
    ] = None,
    journal: Annotated[Path | None, typer.Option(help="What was sent so far; else FILE.journal.")] = None,
    api_version: VersionOption = APIVersion.V3,
    input_format: Annotated[
        Format | None, typer.Option("--format", help="By default what FILE's name or first character says.")
    ] = None,
    prefix: Prefix = PREFIX,
    base_url: BaseURL = None,
    store: Store = None,
    as_json: AsJSON = False,
) -> None:
    try:
        options = PushOptions(
            file=file,
            connection=Connection(prefix=prefix, base_url=base_url, store=store),
            version=api_version.value,
            label_id=label_id,
            no_label=no_label,
            skip_invalid=skip_invalid,
            check=check,
            format=input_format,
            given_results=results,
            given_journal=journal,
            as_json=as_json,
        )
    except ConfigurationError as error:
        exit_with(error, NOTHING_SENT)
    sys.exit(push(options))


@app.command("status", help=_STATUS)
def show_status(  # noqa: D103 - as above
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="The batch_id in the results.")],
    *,
    wait: Annotated[float | None, typer.Option(min=0.001, help="Seconds to wait until it is final.")] = None,
    api_version: VersionOption = APIVersion.V3,
    prefix: Prefix = PREFIX,
    base_url: BaseURL = None,
    store: Store = None,
    as_json: AsJSON = False,
) -> None:
    connection = Connection(prefix=prefix, base_url=base_url, store=store)
    main = show_batch(connection, batch, wait=wait, version=api_version.value, as_json=as_json)
    sys.exit(run_to_code(main))
