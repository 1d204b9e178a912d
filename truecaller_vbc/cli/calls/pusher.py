"""Send the batches of a push, wait while the API does not answer, and end in order on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Final

import attrs

from ...api.models import Label
from ...api.push import Chunk, ChunkResult, build_chunk
from ...api.records import CallRecord
from ...api.responses import classify
from ...backoff import backoff
from ...errors import APIError, InvalidRecordError, Problem, RateLimitedError
from ...session import VBCSession
from ..failures import ANY_FAILURE, describe, is_temporary, pause_after
from ..output import count_of, is_terminal
from .interruption import Interruption, StoppedError, unless_asked
from .list_options import RowParser
from .pieces import Pieces
from .progress import Bar
from .state import PENDING, BatchRow, BatchState, PushState, StateError

# An answer arrives within the attempt's timeout, or is lost.
_LAST_ANSWERS: Final = 35.0
_AT_ONCE: Final = 4
_PACE_WAIT_MOST: Final = 15.0
_LABEL_FAILURES: Final = 3
_SHOWN_EVERY: Final = 0.5
_SHOWN_ELSEWHERE: Final = 10.0  # a line a minute
_MAX_SPLITS: Final = 200
_MAX_REFUSED_IN_A_ROW: Final = 24


@attrs.frozen
class PushLimits:
    """Limit a run of a push.

    Args:
        give_up_after: seconds without any acknowledged batch after which it stops.
        records: how many rows to send at most.
        until: when to stop, in seconds since 1970.
        wait_first: the first wait for an API that does not answer, in seconds; doubled each time.
        wait_most: the longest such wait.
    """

    give_up_after: float = 3600.0
    records: float = math.inf
    until: float = math.inf
    wait_first: float = 2.0
    wait_most: float = 60.0


@attrs.define(eq=False, slots=False)
class Pusher:
    """Send the batches that may be sent, each once.

    After a lost answer nothing more is sent until a harmless call works, then one record alone until one is
    acknowledged: an outage puts the batches that were in flight in doubt, and no others.

    Args:
        session: open.
        pieces: rows of the input.
        state: of the push.
        interruption: the request to stop.
        bar: shows how far it is.
        limits: of this run.
    """

    _session: VBCSession
    _pieces: Pieces
    _state: PushState
    _interruption: Interruption
    _bar: Bar
    _limits: PushLimits

    def __attrs_post_init__(self) -> None:
        self._asked = self._interruption.asked
        self._left = self._limits.records
        self._sent: dict[int, BatchRow] = {}  # given to the API's client and not answered yet, by first row
        self._announced: set[int] = set()  # of these, the ones whose bytes may have left
        self._again = deque[BatchRow]()
        self._answered = asyncio.Event()
        self._answers = self._proven = False  # whether a harmless call has worked, and then a batch was acknowledged
        self._lost: Exception | None = None  # the lost answer that ends this round
        self._broken: StateError | None = None
        self._silent_since: float | None = None
        self._deadline: float | None = None
        self._failures = self._splits = self._refused_in_a_row = 0
        self._note = ""

    async def labels(self) -> list[Label] | None:
        """Return the labels of the account, waiting until the API answers.

        None if the key may not list them, or if they alone fail time after time.

        Raises:
            VBCError: the API does not answer in time, or refuses the credentials.
            StoppedError: a signal asked to stop.
        """
        while True:
            labels: list[Label] | None = None
            try:
                labels = await self._session.labels.list()
            except ANY_FAILURE as error:
                only_labels = self._failures >= _LABEL_FAILURES and await self._answers_elsewhere()
                if not only_labels and (not isinstance(error, APIError) or is_temporary(error)):
                    await self._wait(error)
                    continue
            self._answers = True  # perhaps that this key may not see the labels
            return labels

    async def _answers_elsewhere(self) -> bool:
        with contextlib.suppress(*ANY_FAILURE):
            await anext(self._session.numbers.feature_sets(limit=1), None)
            return True
        return False

    async def push(self, parser: RowParser) -> Exception | None:
        """Send all batches that may be sent. Return the error that stopped the push, if any."""
        watch = asyncio.create_task(self._show())
        try:
            while self._left > 0 and not self._is_stopping() and not self._state.is_finished:
                if self._failures or not self._answers:
                    await self.labels()
                if (error := await self._round(parser)) is not None:
                    await self._wait(error)
        except StoppedError:
            pass
        except ANY_FAILURE as error:
            return self._broken or error
        finally:
            watch.cancel()
            self._pieces.close()
            self._bar.show(self._state.totals())
        return self._broken

    async def _round(self, parser: RowParser) -> Exception | None:
        """Send batches until one is lost or refused for all, or none is left; return what has to pass before the next.

        Raises:
            Exception: it will not pass.
        """
        self._lost = None
        self._again.clear()
        self._sent.clear()
        at_once = _AT_ONCE if self._proven and not self._state.is_in_doubt else 1
        results = self._session.calls.push_chunks(
            self._chunks(parser, single=at_once == 1),
            version=self._state.facts.version,
            in_flight=at_once,
            on_send=self._announce,
        )
        asked = asyncio.create_task(self._asked.wait())
        try:
            while (result := await self._next(results, asked)) is not None:
                self._take(result)
        except StoppedError:
            pass
        except ANY_FAILURE as error:
            if not is_temporary(error):
                raise
            return error
        finally:
            asked.cancel()
            await results.aclose()
        return self._lost

    async def _chunks(self, parser: RowParser, *, single: bool) -> AsyncGenerator[Chunk]:
        """Yield the batches to send; if `single`, end after the first one that has valid records."""
        pending = deque(self._state.batches(*PENDING))
        alone = self._state.is_in_doubt
        while True:
            while not self._again and not pending:
                if not self._sent:
                    return
                self._answered.clear()
                await self._answered.wait()  # a batch that is refused may be cut into two
            if self._left <= 0 or self._lost is not None or self._is_stopping():
                return
            batch = (self._again or pending).popleft()
            if batch.size > self._left:
                batch, _ = self._state.split(batch, int(self._left))
            given = [_given(parser.record(row)) for row in await self._pieces.read(batch)]
            if alone:
                size = next((at for at, one in enumerate(given, 1) if isinstance(one, CallRecord)), batch.size)
                if size < batch.size:
                    batch, rest = self._state.split(batch, size)
                    pending.appendleft(rest)
                    given = given[:size]
            chunk = build_chunk(batch.first, given, time.time())
            self._sent[batch.first] = batch
            self._left -= batch.size
            yield chunk
            if single and chunk.records:
                return

    def _announce(self, chunk: Chunk) -> None:
        """Record that a batch is about to leave."""
        if self._lost is not None or self._is_stopping():
            raise StoppedError("nothing more is to be sent")
        self._state.sending(self._sent[chunk.first], _invalid(chunk))
        self._announced.add(chunk.first)
        self._note = ""

    async def _next(self, results: AsyncGenerator[ChunkResult], asked: asyncio.Task[Any]) -> ChunkResult | None:
        """Return the next result. After a request to stop, wait only for batches in flight, for a limited time."""
        step = asyncio.ensure_future(anext(results, None))
        try:
            await asyncio.wait({step, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done() and self._announced:
                await asyncio.wait({step}, timeout=self._patience())
            return step.result() if step.done() else None
        finally:
            step.cancel()
            await asyncio.wait([step])

    def _patience(self) -> float:
        """Return the seconds to wait for the batches in flight."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + _LAST_ANSWERS
            waiting = count_of(len(self._announced), "batch", "batches")
            self._bar.say(f"stopping: waiting for the answers to {waiting}; once more to leave at once")
        return max(self._deadline - now, 0.0)

    def _take(self, result: ChunkResult) -> None:
        chunk, error = result.chunk, result.error
        batch = self._sent.pop(chunk.first)
        self._announced.discard(chunk.first)
        self._answered.set()
        if isinstance(error, StoppedError):
            self._left += batch.size
            return
        outcome: BatchState = result.outcome
        if outcome == "acknowledged":
            self._proven = self._lost is None
            self._failures = self._refused_in_a_row = 0
            self._silent_since = None
        elif outcome == "unknown":
            self._lost, self._proven = error, False
        elif outcome == "refused" and error is not None and classify(error).closed:
            outcome = "unsent"  # it concerns the account or the moment, not the records
        if outcome == "unsent":
            self._left += batch.size
        batch_id = result.batch.batch_id if result.batch is not None else None
        reason = describe(error) if error is not None else None
        try:
            if outcome != "refused" or not self._cut(batch, chunk):
                told = batch._replace(state=outcome, batch_id=batch_id, error=reason)
                self._state.answered(told, _invalid(chunk))
        except StateError as failure:
            # Wait for the batches in flight: each recorded outcome is one unknown less.
            self._broken = failure

    def _cut(self, batch: BatchRow, chunk: Chunk) -> bool:
        """Cut a batch that was refused, and so surely not taken, to find the record that is the reason."""
        self._refused_in_a_row += 1
        positions = chunk.positions
        too_many = self._splits >= _MAX_SPLITS or self._refused_in_a_row > _MAX_REFUSED_IN_A_ROW
        if len(positions) == 1 or too_many:
            return False
        self._splits += 1
        self._again.extend(self._state.split(batch, positions[len(positions) // 2] - batch.first))
        self._left += batch.size
        return True

    def _is_stopping(self) -> bool:
        return self._asked.is_set() or self._broken is not None or time.time() >= self._limits.until

    async def _wait(self, error: Exception) -> None:
        """Wait a moment for an API that does not answer.

        Raises:
            Exception: `error`, if it will not pass, or has lasted too long.
            StoppedError: a signal asked to stop.
        """
        limits = self._limits
        now = asyncio.get_running_loop().time()
        self._silent_since = now if self._silent_since is None else self._silent_since
        self._failures += 1
        last = min(self._silent_since + limits.give_up_after, now + limits.until - time.time())
        most = min(_PACE_WAIT_MOST, limits.wait_most) if isinstance(error, RateLimitedError) else limits.wait_most
        pause = pause_after(error, backoff(limits.wait_first, self._failures, most=most), last)
        self._note = f"waiting for the API: {describe(error)}; next look in {pause:.0f} s"
        self._bar.show(self._state.totals(), self._note)
        await unless_asked(self._asked, asyncio.sleep(pause))

    async def _show(self) -> None:
        every = _SHOWN_EVERY if is_terminal(sys.stderr) else _SHOWN_ELSEWHERE
        while True:
            pacing = "waiting for the API's pace" if self._sent and not self._announced else ""
            self._bar.show(self._state.totals(), self._note or pacing)
            await asyncio.sleep(every)


def _given(record: CallRecord | str) -> CallRecord | InvalidRecordError:
    return InvalidRecordError([Problem("", record)]) if isinstance(record, str) else record


def _invalid(chunk: Chunk) -> dict[int, str]:
    return {it.position or 0: f"{it.field}: {it.text}" if it.field else it.text for it in chunk.invalid}
