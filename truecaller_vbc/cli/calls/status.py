"""``truecaller-vbc calls status``: what became of the records of a batch."""

from __future__ import annotations

from typing import cast

import typer

from ...api.calls import Version
from ...api.models import BatchStatus
from ...api.status import Status
from ...errors import StillPendingError
from ..connection import Connection
from ..documents import print_json
from ..failures import DONE, IN_PART, STOPPED
from ..tables import print_table
from ..text import plain


async def show_batch(connection: Connection, batch: str, *, wait: float | None, version: Version, as_json: bool) -> int:
    """Print it; 0 if every record succeeded, 1 if one failed, 3 if some are not final yet.

    Raises:
        VBCError: it cannot be had; also aiohttp.ClientError and TimeoutError.
    """
    async with connection.session() as vbc:
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
