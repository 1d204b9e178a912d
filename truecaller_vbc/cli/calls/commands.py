"""Define the ``calls`` commands and their options."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from datetime import datetime, timedelta
from datetime import time as datetime_time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, cast

import attrs
import typer

from ...api.calls import Version
from ...api.models import BatchStatus, Status
from ...errors import ConfigurationError, NotFoundError, StillPendingError, VBCError
from ..connection import PREFIX, AsJSON, BaseURL, Connection, Prefix, Store, wait_out_failure
from ..failures import ANY_FAILURE, DONE, IN_PART, NOTHING_SENT, STOPPED, describe, exit_with, run_to_code, silence_log
from ..output import count_of, plain, print_json, print_table, tolerate_broken_pipe
from .check import template
from .columns import RecordRules, RowParser
from .exports import export, rejected, results
from .interruption import Interruption
from .outcomes import OutcomeReader
from .parsing import Command, duration, load_settings
from .progress import Bar
from .push import PushOptions, open_push, push, rules_of, source_options
from .report import Report
from .source import Format, Source, SourceOptions
from .state import STDIN, PushState, is_state, open_state, state_path

app: typer.Typer = typer.Typer(no_args_is_help=True, help="Tell the API of calls to come, from a list.")

# Typer keeps line breaks inside a paragraph, so each paragraph is one line.
_PUSH: Final = """Send the records of FILE, however many, in batches of 500 and at most 60 of these in a minute.

FILE is CSV, JSON or .xlsx, also as .gz. The columns are caller_number, receiver_number, starts_at, ends_at, label_id, \
dynamic_label_name, dynamic_call_reason; those that FILE has not are given as options (see calls template, and --check):

truecaller-vbc calls push customers.csv --column receiver_number=Mobile --ignore-extra --country IN --caller \
+911234567890 --label 'Flower shop' --date tomorrow --window 10:00-18:00 --timezone Asia/Kolkata

These options can stand in a file. In cron: 0 17 * * * . /etc/vbc.env && truecaller-vbc calls push /data/list.csv \
--settings /etc/desk.toml

Everything is checked first, and nothing is sent if there is a problem. FILE.push remembers what was sent: whatever \
ends it, the same command goes on where it was. While the API does not answer, it waits. Records whose answer was lost \
are "unknown", and are sent once more only with --send-unknown.

Exit codes:

0  every record was acknowledged, or --check found no problem

1  done, but some records were refused, failed, are invalid, or of unknown outcome

2  a wrong setting or input; nothing was sent

3  stopped before the end: run it again

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


def _columns(given: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or ()]
    if wrong := [field for field, separator, _ in pairs if not separator]:
        raise ConfigurationError(f"--column {wrong[0]}: write FIELD=COLUMN, such as receiver_number=Mobile")
    return {field.strip(): name.strip() for field, _, name in pairs}


def _until(text: str | None) -> float | None:
    """Return the moment at which a clock in this time zone shows this time of day: today, or tonight after midnight."""
    if text is None:
        return None
    try:
        at = datetime_time.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"--until {text}: write a time of day such as 18:00") from None
    now = datetime.now().astimezone()
    end = datetime.combine(now, at).astimezone()
    # A time of this morning may be meant for tomorrow's; one that has just passed is not.
    return (end if end > now - timedelta(hours=12) else end + timedelta(days=1)).timestamp()


_INPUT: Final = "What the list has"
_RECORDS: Final = "What the records have where the list has nothing"
_PUSHING: Final = "How it is pushed"

Settings = Annotated[
    Path | None,
    typer.Option(
        callback=load_settings,
        is_eager=True,
        help="TOML file with options of push, such as country = 'IN'; the command line wins.",
    ),
]
StateOption = Annotated[
    Path | None, typer.Option("--state", help="Where the push is remembered; else FILE.push.", rich_help_panel=_PUSHING)
]
VersionOption = Annotated[
    APIVersion, typer.Option("--api-version", help="Of the batch endpoint; v2 is the previous one.")
]


@app.command("push", help=_PUSH, cls=Command)
def push_file(  # noqa: D103 - its help is what it says, and it has many options
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The list; - for standard input.")],
    *,
    settings: Settings = None,
    check: Annotated[
        bool, typer.Option("--check", help="Look at list and account; nothing is sent.", rich_help_panel=_PUSHING)
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="Where the list has another name.", rich_help_panel=_INPUT),
    ] = None,
    ignore_extra: Annotated[
        bool, typer.Option("--ignore-extra", help="Leave out other columns.", rich_help_panel=_INPUT)
    ] = False,
    country: Annotated[
        str | None, typer.Option(help="Complete numbers of this country, such as IN.", rich_help_panel=_INPUT)
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Of times without one, such as Asia/Kolkata.", rich_help_panel=_INPUT)
    ] = None,
    date_format: Annotated[str | None, typer.Option(help="Such as '%d-%m-%Y %H:%M'.", rich_help_panel=_INPUT)] = None,
    input_format: Annotated[
        Format | None, typer.Option("--format", help="Else it is seen in the list.", rich_help_panel=_INPUT)
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Of CSV; else it is seen in the header.", rich_help_panel=_INPUT)
    ] = None,
    caller: Annotated[str | None, typer.Option(help="caller_number.", rich_help_panel=_RECORDS)] = None,
    label: Annotated[str | None, typer.Option(help="Name or ID of a label.", rich_help_panel=_RECORDS)] = None,
    no_label: Annotated[bool, typer.Option("--no-label", help="No label.", rich_help_panel=_RECORDS)] = False,
    label_name: Annotated[str | None, typer.Option(help="dynamic_label_name.", rich_help_panel=_RECORDS)] = None,
    reason: Annotated[str | None, typer.Option(help="dynamic_call_reason.", rich_help_panel=_RECORDS)] = None,
    starts_at: Annotated[str | None, typer.Option(help="When the window opens.", rich_help_panel=_RECORDS)] = None,
    ends_at: Annotated[str | None, typer.Option(help="When it closes.", rich_help_panel=_RECORDS)] = None,
    date: Annotated[str | None, typer.Option(help="today, tomorrow or 2026-11-27.", rich_help_panel=_RECORDS)] = None,
    window: Annotated[str | None, typer.Option(help="Such as 10:00-18:00.", rich_help_panel=_RECORDS)] = None,
    state: StateOption = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Send the others nevertheless.", rich_help_panel=_PUSHING)
    ] = False,
    send_unknown: Annotated[
        bool,
        typer.Option("--send-unknown", help="Send once more what may have been lost.", rich_help_panel=_PUSHING),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many records, to try a few first.", rich_help_panel=_PUSHING)
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Stop at this time, such as 18:00.", rich_help_panel=_PUSHING)
    ] = None,
    rate: Annotated[int, typer.Option(min=1, help="Batches a minute.", rich_help_panel=_PUSHING)] = 60,
    give_up_after: Annotated[
        str, typer.Option(help="How long to wait for an API that does not answer.", rich_help_panel=_PUSHING)
    ] = "1h",
    wait: Annotated[
        str | None,
        typer.Option(
            metavar="[DURATION]", help="Then ask what became of them, for so long; else 10m.", rich_help_panel=_PUSHING
        ),
    ] = None,
    api_version: VersionOption = APIVersion.V3,
    prefix: Prefix = PREFIX,
    base_url: BaseURL = None,
    store: Store = None,
    as_json: AsJSON = False,
) -> None:
    del settings
    try:
        options = PushOptions(
            file=file,
            connection=Connection(prefix=prefix, base_url=base_url, store=store),
            rules=RecordRules(
                columns=_columns(column),
                ignore_extra=ignore_extra,
                caller=caller,
                label=label,
                reason=reason,
                label_name=label_name,
                no_label=no_label,
                starts_at=starts_at,
                ends_at=ends_at,
                date=date,
                window=window,
                timezone=timezone,
                date_format=date_format,
                country=country,
            ),
            source=SourceOptions(format=input_format, delimiter=delimiter),
            version=api_version.value,
            check=check,
            skip_invalid=skip_invalid,
            send_unknown=send_unknown,
            state=state,
            give_up_after=duration(give_up_after, "--give-up-after"),
            wait=None if wait is None else duration(wait, "--wait"),
            limit=limit,
            until=_until(until),
            rate=rate,
            as_json=as_json,
            arguments=context.meta["arguments"],
        )
    except ConfigurationError as error:
        Report(reason=error).print(as_json=as_json)
        sys.exit(NOTHING_SENT)
    sys.exit(push(options))


FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="As it was pushed; or the state of a push.")]


@app.command("outcomes", cls=Command)
def ask_outcomes(
    file: FileArgument,
    *,
    settings: Settings = None,
    state: StateOption = None,
    wait: Annotated[
        str,
        typer.Option(metavar="[DURATION]", help="Ask until all is known, for so long (10m if not said); else once."),
    ] = "0",
    prefix: Prefix = PREFIX,
    base_url: BaseURL = None,
    store: Store = None,
    as_json: AsJSON = False,
) -> None:
    """Ask the API what became of all records of a push, and count them by reason.

    Exit codes: 0 all succeeded, 1 some failed, 2 a wrong setting, 3 not all is known yet: ask again later.
    """
    del settings
    silence_log()
    interruption = Interruption()
    connection = Connection(prefix=prefix, base_url=base_url, store=store)
    try:
        seconds = duration(wait, "--wait")
        with interruption.handle_signals(), open_push(file, state) as (source, opened):
            reason: Exception | None = None
            if any(not batch.final for batch in opened.batches("acknowledged")):
                with Bar("asking", opened.facts.records) as bar:
                    reason = asyncio.run(_ask(connection, opened, source, seconds, (interruption, bar)))
            report = Report(
                totals=opened.totals(),
                reasons=opened.reasons(),
                reason=reason,
                interrupted=interruption.asked.is_set(),
                limited=True,
                waited=True,
                file=file,
                state=opened.path,
            )
    except KeyboardInterrupt:
        report = Report(interrupted=True)
    except (*ANY_FAILURE, OSError) as error:
        report = Report(reason=error)
    with tolerate_broken_pipe():
        report.print(as_json=as_json)
    sys.exit(report.exit_code)


async def _ask(
    connection: Connection, state: PushState, source: Source, wait: float, control: tuple[Interruption, Bar]
) -> Exception | None:
    interruption, bar = control
    facts = state.facts
    connection = attrs.evolve(connection, base_url=connection.base_url or facts.base_url)
    with interruption.on(asyncio.get_running_loop(), bar.stop):
        try:
            async with connection.session() as session:
                if session.client_account_id != facts.account:
                    return ConfigurationError(
                        f"the push was for the account {plain(facts.account)}, and the credentials are of "
                        f"{plain(session.client_account_id)}: give those of the same account"
                    )
                await wait_out_failure(session)
                parser = RowParser(rules_of(state))
                reader = OutcomeReader(source, parser, state, session.calls, bar=bar, asked=interruption.asked)
                return await reader.ask(wait)
        except ANY_FAILURE as error:
            return error


class ExportFormat(StrEnum):
    """Name the format of an export."""

    CSV = "csv"
    JSONL = "jsonl"


OutputOption = Annotated[Path | None, typer.Option("--output", help="Where to; - for standard output.")]
ExportOption = Annotated[ExportFormat, typer.Option("--format", help="Of the export.")]


@app.command("results", cls=Command)
def export_results(
    file: FileArgument,
    *,
    settings: Settings = None,
    state: StateOption = None,
    output: OutputOption = None,
    export_format: ExportOption = ExportFormat.CSV,
) -> None:
    """Write each row with its outcome, reason and batch, to FILE.results.csv."""
    del settings
    _export(file, state, output, "results", export_format, only=None)


@app.command("rejects", cls=Command)
def export_rejects(
    file: FileArgument,
    *,
    settings: Settings = None,
    state: StateOption = None,
    output: OutputOption = None,
    export_format: ExportOption = ExportFormat.CSV,
    with_unknown: Annotated[bool, typer.Option("--with-unknown", help="Also rows in doubt.")] = False,
) -> None:
    """Write the rows that were invalid, refused, failed or not sent, with the reason, to be mended and pushed again."""
    del settings
    _export(file, state, output, "rejects", export_format, only=rejected(with_unknown=with_unknown))


def _export(
    file: str, state: Path | None, output: Path | None, name: str, form: ExportFormat, *, only: frozenset[str] | None
) -> None:
    stem = file if file != STDIN else str(state_path(file, state))
    target = output or Path(f"{stem}.{name}.{form.value}")
    try:
        with open_push(file, state) as (source, opened), tolerate_broken_pipe():
            found = results(source, RowParser(rules_of(opened)), opened)
            place = None if str(target) == STDIN else target
            delimiter = source_options(opened).delimiter or "," if form is ExportFormat.CSV else None
            rows = export(found, source, place, delimiter=delimiter, only=only)
    except (VBCError, OSError) as error:
        exit_with(VBCError(describe(error)), NOTHING_SENT)
    if place is not None:
        typer.echo(f"{count_of(rows, 'record')}: {plain(place)}")


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
        exit_with(ConfigurationError(f"{plain(directory)} cannot be listed ({error.strerror})"), NOTHING_SENT)


@app.command("list", cls=Command)
def list_pushes(directory: DirectoryArgument = Path(), *, as_json: AsJSON = False) -> None:
    """List the pushes that are remembered in a directory."""
    rows: list[dict[str, Any]] = []
    for path in _states(directory):
        try:
            with open_state(path) as state:
                counts = {name: count for name, count in state.totals().items() if count}
                rows.append({"state": str(path), "begun": state.facts.begun, "input": state.facts.input, **counts})
        except ConfigurationError as error:
            rows.append({"state": str(path), "begun": "", "input": plain(error)})
    if as_json:
        print_json(rows)
        return
    known = ("state", "begun", "input")
    print_table(
        ("state", "begun", "input", "records"),
        [
            (*(row[name] for name in known), ", ".join(f"{row[it]:,} {it}" for it in row if it not in known))
            for row in rows
        ],
    )


@app.command("prune", cls=Command)
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


async def show_batch(connection: Connection, batch: str, *, wait: float | None, version: Version, as_json: bool) -> int:
    """Print a batch's status; return 0 if every record succeeded, 1 if one failed, 3 if some are not final.

    Raises:
        VBCError: it cannot be had.
    """
    async with connection.open() as vbc:
        try:
            if wait is None:
                status = await vbc.calls.batch_status(batch, version=version)
            else:
                status = await vbc.calls.wait_for_batch(batch, timeout=wait, version=version)
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


@app.command("status", help=_STATUS, cls=Command)
def show_status(  # noqa: D103 - as above
    batch: Annotated[str, typer.Argument(metavar="BATCH", help="The push_batch_id in the results.")],
    *,
    wait: Annotated[
        str | None, typer.Option(metavar="[DURATION]", help="Wait until it is final, for so long (10m if not said).")
    ] = None,
    api_version: VersionOption = APIVersion.V3,
    prefix: Prefix = PREFIX,
    base_url: BaseURL = None,
    store: Store = None,
    as_json: AsJSON = False,
) -> None:
    connection = Connection(prefix=prefix, base_url=base_url, store=store)
    try:
        seconds = None if wait is None else duration(wait, "--wait")
    except ConfigurationError as error:
        exit_with(error, NOTHING_SENT, as_json=as_json)
    main = show_batch(connection, batch, wait=seconds, version=api_version.value, as_json=as_json)
    sys.exit(run_to_code(main, as_json=as_json))
