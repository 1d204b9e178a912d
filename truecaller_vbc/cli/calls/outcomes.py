"""Ask the API what became of the records of a push, and keep the answers in its state."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Final

from ...api.calls import Calls
from ...api.models import BatchStatus, RecordStatus
from ...api.records import CallRecord
from ...backoff import backoff
from ...errors import NotFoundError
from ..failures import ANY_FAILURE
from .columns import RowParser
from .pieces import Pieces
from .progress import Bar
from .pusher import is_temporary
from .source import Source
from .state import BatchRow, PushState

_AT_ONCE: Final = 4
_SPREAD: Final = (0.8, 1.2)
_PAUSE_FIRST: Final = 1.0
_PAUSE_MOST: Final = 30.0


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

    def __init__(
        self,
        source: Source,
        parser: RowParser,
        state: PushState,
        calls: Calls,
        *,
        bar: Bar,
        asked: asyncio.Event,
    ) -> None:
        self._source = source
        self._parser = parser
        self._state = state
        self._calls = calls
        self._bar = bar
        self._asked = asked

    async def ask(self, wait: float) -> Exception | None:
        """Ask until all is known, at least once and for `wait` seconds at most. Return what ended it early."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait
        count = 0
        while (batches := self._open()) and not self._asked.is_set():
            count += 1
            error = await self._look(batches)
            if error is not None and not is_temporary(error):
                return error
            pause = backoff(_PAUSE_FIRST, count, spread=_SPREAD, most=_PAUSE_MOST)
            if not self._open() or loop.time() + pause > end:
                return error
            self._bar.say(f"{len(self._open()):,} batches are not done: next look in {pause:.0f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), pause)
        return None

    def _open(self) -> list[BatchRow]:
        return [batch for batch in self._state.batches("acknowledged") if not batch.final]

    async def _look(self, batches: list[BatchRow]) -> Exception | None:
        """Ask once for each of these batches, a few at a time; stop at the first failure."""
        pieces = Pieces(self._source)
        try:
            for first in range(0, len(batches), _AT_ONCE):
                if self._asked.is_set():
                    return None
                group = batches[first : first + _AT_ONCE]
                answers = await asyncio.gather(*map(self._status, group), return_exceptions=True)
                for batch, answer in zip(group, answers, strict=True):
                    if isinstance(answer, BaseException):
                        if not isinstance(answer, ANY_FAILURE):
                            raise answer
                        return answer
                    if answer is not None:
                        await self._keep(batch, answer, pieces)
                self._bar.show(self._state.totals(), "asking what became of them")
        except ANY_FAILURE as error:
            return error
        finally:
            pieces.close()
        return None

    async def _status(self, batch: BatchRow) -> BatchStatus | None:
        try:
            return await self._calls.batch_status(batch.batch_id or "", version=self._state.facts.version)
        except NotFoundError:
            return None  # the server has not begun with it yet, or no longer knows it

    async def _keep(self, batch: BatchRow, answer: BatchStatus, pieces: Pieces) -> None:
        known: defaultdict[object, deque[RecordStatus]] = defaultdict(deque)
        for told in answer.data:
            known[_key_of_answer(told)].append(told)
        skipped = self._state.outcomes(batch)
        outcomes: dict[int, tuple[str, str]] = {}
        sent = 0
        for position, row in enumerate(await pieces.read(batch), batch.first):
            record = None if skipped.get(position, ("",))[0] == "invalid" else self._parser.record(row)
            if not isinstance(record, CallRecord):
                continue
            sent += 1
            if (told_of := known.get(_key(record))) and (told := told_of.popleft()).status.final:
                outcomes[position] = _outcome(told)
        self._state.told(batch, outcomes, final=len(outcomes) == sent)


def _outcome(told: RecordStatus) -> tuple[str, str]:
    if told.status == "success":
        return "success", ""
    return "failed", told.status_info.message or str(told.status)


def _key(record: CallRecord) -> object:
    numbers = record.caller_number.lstrip("+"), record.receiver_number.lstrip("+")
    return *numbers, record.starts_at, record.ends_at


def _key_of_answer(told: RecordStatus) -> object:
    numbers = told.caller_number.lstrip("+"), told.receiver_number.lstrip("+")
    times: Mapping[str, int | None] = {
        name: None if (time := getattr(told, name)) is None else round(time.timestamp() * 1000)
        for name in ("starts_at", "ends_at")
    }
    return *numbers, *times.values()
