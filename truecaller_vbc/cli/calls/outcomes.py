"""Ask the API what became of the records of a push, and keep the answers in its state."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import attrs

from ...api.calls import Calls
from ...api.foreign_text import plain
from ...api.models import BatchStatus, RecordStatus, Status
from ...api.records import CallRecord
from ...backoff import backoff
from ...call_lists.source import Source
from ...errors import ConfigurationError, NotFoundError
from ..connection import Connection
from ..failures import ANY_FAILURE, describe, pause_after
from .interruption import Interruption, in_session, unless_asked
from .list_options import RowParser
from .pieces import Pieces
from .place import PushPlace, open_push, rules_of
from .progress import Bar
from .report import Report, print_report, report_on
from .state import BatchRow, PushState

_AT_ONCE: Final = 2
_PATIENCE: Final = 60.0
_PAUSE_FIRST: Final = 1.0
_PAUSE_MOST: Final = 30.0
_ASKING: Final = "asking what became of them"


@attrs.define
class OutcomeReader:
    """Ask for all batches whose records' outcomes are not known.

    Args:
        source: the input.
        parser: with which it was sent.
        state: of the push.
        calls: of an open session.
        bar: shows how far it is.
        asked: set when the command is to end.
    """

    _source: Source
    _parser: RowParser
    _state: PushState
    _calls: Calls
    _bar: Bar
    _asked: asyncio.Event
    _end: float = attrs.field(default=0.0, init=False)

    async def ask(self, wait: float) -> None:
        """Ask until all is known, at least once and for `wait` seconds at most.

        Raises:
            StoppedError: a signal asked to stop.
        """
        now = asyncio.get_running_loop().time
        self._end = now() + wait
        for looks in itertools.count(1):
            await self._look()
            pause = _pause(looks)
            if not self._open() or now() + pause > self._end:
                return
            await self._sleep(pause, "waiting for the API to work on the batches")

    def _open(self) -> list[BatchRow]:
        return [batch for batch in self._state.batches("acknowledged") if not batch.final]

    async def _look(self) -> None:
        """Ask once for each batch, in the order of the input, which is read once at most."""
        batches = self._open()
        with contextlib.closing(Pieces(self._source)) as pieces:
            for first in range(0, len(batches), _AT_ONCE):
                some = batches[first : first + _AT_ONCE]
                answers = await unless_asked(self._asked, asyncio.gather(*map(self._status, some)))
                for batch, answer in zip(some, answers, strict=True):
                    if answer is not None:
                        await self._keep(batch, answer, pieces)
                self._bar.show(self._state.totals(), _ASKING)

    async def _status(self, batch: BatchRow) -> BatchStatus | None:
        """Return the status of a batch, waiting for a busy API; None if the server has not begun with it."""
        failures, last = 0, 0.0
        while True:
            try:
                return await self._calls.batch_status(batch.batch_id or "", version=self._state.facts.version)
            except NotFoundError:
                return None
            except ANY_FAILURE as error:
                failures += 1
                last = last or max(asyncio.get_running_loop().time() + _PATIENCE, self._end)
                pause = pause_after(error, _pause(failures), last)
                await self._sleep(pause, f"waiting for the API: {describe(error)}; next look in {pause:.0f} s")

    async def _keep(self, batch: BatchRow, answer: BatchStatus, pieces: Pieces) -> None:
        skipped = {at for at, (outcome, _) in self._state.outcomes(batch).items() if outcome == "invalid"}
        sent = [at for at in range(batch.first, batch.first + batch.size) if at not in skipped]
        found: dict[int, tuple[str, str]] = {}
        final = answer.counts == {Status.SUCCESS: len(sent)}  # the usual case: its rows need not be read
        if not final and answer.data:
            rows = await pieces.read(batch)
            records = {at: self._parser.record(rows[at - batch.first]) for at in sent}
            found = match({at: it for at, it in records.items() if isinstance(it, CallRecord)}, answer.data)
            final = len(found) == len(sent)
        if final or found:
            self._state.told(batch, found, final=final)

    async def _sleep(self, seconds: float, note: str) -> None:
        self._bar.show(self._state.totals(), note)
        await unless_asked(self._asked, asyncio.sleep(seconds))


def _pause(count: int) -> float:
    return backoff(_PAUSE_FIRST, count, most=_PAUSE_MOST)


def match(records: Mapping[int, CallRecord], told: Iterable[RecordStatus]) -> dict[int, tuple[str, str]]:
    """Return outcome and reason of each record that the API has told finally, by position."""
    found: dict[int, tuple[str, str]] = {}
    for position, it in zip(records, BatchStatus(data=tuple(told)).match(records.values()), strict=True):
        if it is not None and it.status.final:
            is_good = it.status is Status.SUCCESS
            found[position] = ("success", "") if is_good else ("failed", it.status_info.message or it.status)
    return found


def ask(place: PushPlace, connection: Connection, wait: float, *, as_json: bool) -> int:
    """Ask what became of the records of a push, print the report, and return the exit code."""
    return print_report(partial(_ask, place, connection, wait), as_json=as_json)


def _ask(place: PushPlace, connection: Connection, wait: float, interruption: Interruption) -> Report:
    with open_push(place) as (source, state):
        reason: Exception | None = None
        if any(not batch.final for batch in state.batches("acknowledged")):
            connection = attrs.evolve(connection, base_url=connection.base_url or state.facts.base_url)
            session = connection.session()
            if session.client_account_id != state.facts.account:
                raise ConfigurationError(
                    f"the push was for the account {plain(state.facts.account)}, and the credentials are of "
                    f"{plain(session.client_account_id)}: give those of the same account"
                )
            parser, asked = RowParser(rules_of(state)), interruption.asked
            with Bar("asking", state.facts.records) as bar:
                reader = OutcomeReader(source, parser, state, session.calls, bar, asked)
                reason = asyncio.run(in_session(session, partial(reader.ask, wait), interruption, bar.stop))
        return report_on(state, place.file, interruption, reason=reason, limited=True, waited=True)
