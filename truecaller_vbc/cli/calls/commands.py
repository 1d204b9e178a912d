"""Define the ``calls`` commands and their options."""

from __future__ import annotations

import re
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import attrs
import typer

from ...api.calls import Version
from ...api.foreign_text import plain
from ...api.models import BatchStatus, Status
from ...errors import ConfigurationError, NotFoundError, StillPendingError, VBCError
from ..connection import Connection
from ..failures import DONE, IN_PART, STOPPED
from ..options import AsJSON, with_options
from ..output import count_of, print_json, print_table, tolerate_broken_pipe
from .exports import REJECTED, export, results
from .list_options import RowParser
from .outcomes import ask
from .parsing import WAIT, Command
from .place import PushPlace, open_push, rules_of, source_options
from .preview import template
from .push import VERSION_HELP, PushOptions, push
from .report import in_words
from .state import STDIN, is_state, open_state

app: typer.Typer = typer.Typer(no_args_is_help=True, help="Tell the API of calls to come, from a list.")


@app.command("push", cls=Command)
@with_options
def push_file(*, options: PushOptions, context: typer.Context) -> int:
    """Send the records of FILE, however many, in batches of 500 and at most 60 of these in a minute.

    FILE is CSV, JSON or .xlsx, also as .gz. The columns are caller_number, receiver_number, starts_at, ends_at, \
label_id, dynamic_label_name, dynamic_call_reason; those that FILE has not are given as options (see calls \
template, and --check):

    truecaller-vbc calls push customers.csv --column receiver_number=Mobile --ignore-extra --country IN --caller \
+911234567890 --label 'Flower shop' --date tomorrow --window 10:00-18:00 --timezone Asia/Kolkata

    These options can stand in a file. In cron: 0 17 * * * . /etc/vbc.env && truecaller-vbc calls push /data/list.csv \
--settings /etc/desk.toml

    Everything is checked first, and nothing is sent if there is a problem. FILE.push remembers what was sent: \
whatever ends it, the same command goes on where it was. While the API does not answer, it waits. Records whose \
answer was lost are "unknown", and are sent once more only with --send-unknown.

    Exit codes:

    0  every record was acknowledged, or --check found no problem

    1  done, but some records were refused, failed, are invalid, or of unknown outcome

    2  a wrong setting or input; nothing was sent

    3  stopped before the end: run it again

    130  interrupted: run it again
    """
    # Typer keeps line breaks inside a paragraph, so each paragraph is one line.
    return push(attrs.evolve(options, arguments=context.meta["arguments"]))


@app.command("outcomes", cls=Command)
@with_options
def ask_outcomes(
    *,
    place: PushPlace,
    wait: Annotated[
        float, typer.Option(help="Ask until all is known, for so long (10m if not said); else once.", **WAIT)
    ] = 0.0,
    connection: Connection,
    as_json: AsJSON = False,
) -> int:
    """Ask the API what became of all records of a push, and count them by reason.

    Exit codes: 0 all succeeded, 1 some failed, 2 a wrong setting, 3 not all is known yet: ask again later.
    """
    return ask(place, connection, wait, as_json=as_json)


OutputOption = Annotated[Path | None, typer.Option("--output", help="Where to; - for standard output.")]
ExportFormat = Annotated[Literal["csv", "jsonl"], typer.Option("--format", help="Of the export.")]


@app.command("results", cls=Command)
@with_options
def export_results(*, place: PushPlace, output: OutputOption = None, export_format: ExportFormat = "csv") -> None:
    """Write each row with its outcome, reason and batch, to FILE.results.csv."""
    _export(place, output, "results", export_format, only=None)


@app.command("rejects", cls=Command)
@with_options
def export_rejects(
    *,
    place: PushPlace,
    output: OutputOption = None,
    export_format: ExportFormat = "csv",
    with_unknown: Annotated[bool, typer.Option("--with-unknown", help="Also rows in doubt.")] = False,
) -> None:
    """Write the rows that were invalid, refused, failed or not sent, with the reason, to be mended and pushed again."""
    _export(place, output, "rejects", export_format, only=REJECTED | {"unknown"} if with_unknown else REJECTED)


def _export(place: PushPlace, output: Path | None, name: str, form: str, *, only: frozenset[str] | None) -> None:
    stem = place.state_path if place.file == STDIN else place.file
    target = output or Path(f"{stem}.{name}.{form}")
    written = None if str(target) == STDIN else target
    with open_push(place) as (source, state), tolerate_broken_pipe():
        found = results(source, RowParser(rules_of(state)), state)
        delimiter = source_options(state).delimiter or "," if form == "csv" else None
        rows = export(found, source, written, delimiter=delimiter, only=only)
    if written is not None:
        typer.echo(f"{count_of(rows, 'record')}: {plain(written)}")


@app.command("template")
def print_template() -> None:
    """Print a CSV file to start from."""
    typer.echo(template(time.time(), datetime.now().astimezone().tzinfo or sys.exit()), nl=False)


DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Where to look.")]


_SET_ASIDE: Final = re.compile(r".*\.\d{4}-\d{2}-\d{2}(\.\d+)?")


def _states(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.is_file() and is_state(path))
    except OSError as error:
        raise ConfigurationError(f"{plain(directory)} cannot be listed ({error.strerror})") from None


@app.command("list", cls=Command)
@with_options
def list_pushes(directory: DirectoryArgument = Path(), *, as_json: AsJSON = False) -> None:
    """List the pushes that are remembered in a directory."""
    rows: list[tuple[Any, ...]] = []
    for path in _states(directory):
        try:
            with open_state(path) as state:
                rows.append((str(path), state.facts.begun, state.facts.input, state.totals()))
        except ConfigurationError as error:
            rows.append((str(path), "", plain(error), {}))
    names = ("state", "begun", "input")
    if as_json:
        counted = [{name: count for name, count in totals.items() if count} for *_, totals in rows]
        print_json([dict(zip(names, row, strict=False)) | counts for row, counts in zip(rows, counted, strict=True)])
    else:
        print_table((*names, "records"), [(*told, in_words(totals)) for *told, totals in rows])


@app.command("prune", cls=Command)
@with_options
def prune_pushes(
    directory: DirectoryArgument = Path(),
    *,
    older_than: Annotated[int, typer.Option(min=0, help="Days since its last change.")] = 30,
) -> None:
    """Delete states of finished pushes that were set aside (FILE.push.DATE), and list them."""
    limit = time.time() - older_than * 86_400
    for path in _states(directory):
        if _SET_ASIDE.fullmatch(path.name) and path.stat().st_mtime <= limit:
            path.unlink()
            typer.echo(f"deleted {plain(path)}")


@app.command("status", cls=Command)
@with_options
async def show_status(
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="The push_batch_id in the results.")],
    *,
    wait: Annotated[
        float | None, typer.Option(help="Wait until it is final, for so long (10m if not said).", **WAIT)
    ] = None,
    api_version: Annotated[Version, typer.Option(help=VERSION_HELP)] = "v3",
    connection: Connection,
    as_json: AsJSON = False,
) -> int:
    """Say what became of each record of a batch.

    The object of --json has: batch_id, final, counts (by status), records.

    Exit codes:

    0  every record succeeded

    1  some failed

    2  a wrong setting

    3  not final yet, or it cannot be told now
    """
    async with connection.open() as vbc:
        try:
            if wait is None:
                status = await vbc.calls.batch_status(batch, version=api_version)
            else:
                status = await vbc.calls.wait_for_batch(batch, timeout=wait, version=api_version)
        except (NotFoundError, StillPendingError) as error:
            if (last := getattr(error, "done", None)) is None:
                raise VBCError(
                    f"HTTP 404: the API knows no batch {plain(batch, 80)}: check BATCH, or ask again in a minute if it "
                    "was sent just now"
                ) from None
            status = cast(BatchStatus, last)
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
