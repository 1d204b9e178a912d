"""Send the rows of an input in batches, note each step in the journal, and end in order on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from itertools import islice
from types import FrameType
from typing import Any, Final

import attrs

from ...api.calls import MAX_RECORDS, Calls, Version
from ...api.push import Chunk, ChunkResult
from ...api.records import CallRecord
from ...api.responses import classify
from ...errors import VBCError
from ..failures import ANY_FAILURE, describe
from .journal import ChunkState, Journal, JournalError
from .progress import Bar
from .reading import InputChangedError, Source
from .records import RowParser, describe_problems

_SIGNALS: Final = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGBREAK") if (number := getattr(signal, name, None)) is not None
)
INTERRUPTED: Final = 130


class Interruption:
    """Note that a signal asked the push to end.

    While `on` an event loop, the first signal sets `asked` and the second leaves; elsewhere each raises
    KeyboardInterrupt.

    Attributes:
        asked: set by the first signal.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: Callable[[], object] | None = None

    @contextlib.contextmanager
    def handle_signals(self) -> Generator[None]:
        """Handle the signals inside the block, in the main thread only, and restore the old handlers."""
        # A signal that is ignored stays ignored: the parent process asked for that.
        taken = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._take) for number in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def on(self, loop: asyncio.AbstractEventLoop, leave: Callable[[], object]) -> Generator[None]:
        """Inside the block, the first signal sets `asked`; the second calls `leave` and ends the process."""
        self._loop, self._leave = loop, leave
        try:
            yield
        finally:
            self._loop = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._loop is None:
            raise KeyboardInterrupt
        # Set the flag by a call into the loop, which otherwise would not wake up.
        self._loop.call_soon_threadsafe(self._ask)

    def _ask(self) -> None:
        if self.asked.is_set() and self._leave is not None:
            self._leave()
            os._exit(INTERRUPTED)
        self.asked.set()


# An answer arrives within the attempt's timeout, or is lost.
_LAST_ANSWERS: Final = 35.0
_AT_ONCE: Final = 4


class _StoppedError(VBCError):
    """Report that the push was asked to stop before this chunk was sent."""


@attrs.frozen
class _InFlight:
    """Hold a chunk of the input on its way through `Calls.push_all`, which counts only the records given to it."""

    chunk: int
    faults: dict[int, str]


class Pusher:
    """Push the chunks that may be sent, once.

    Args:
        source: the input.
        parser: makes records of its rows.
        journal: of this input, begun.
        interruption: the request to stop.
        bar: shows how far it is.
    """

    def __init__(
        self, source: Source, parser: RowParser, journal: Journal, interruption: Interruption, bar: Bar
    ) -> None:
        self._source = source
        self._parser = parser
        self._journal = journal
        self._asked = interruption.asked
        self._bar = bar
        self._fed: dict[int, _InFlight] = {}
        self._begun = 0
        self._announced: set[int] = set()
        self._deadline: float | None = None
        self._broken: JournalError | None = None

    async def push(self, calls: Calls, version: Version) -> Exception | None:
        """Send all chunks that may be sent. Return the error that stopped the push, if any."""
        results = calls.push_all(self._records(), version=version, in_flight=_AT_ONCE, on_send=self._announce)
        asked = asyncio.create_task(self._asked.wait())
        try:
            while (result := await self._next(results, asked)) is not None:
                self._take(result)
        except _StoppedError:
            return self._broken
        except (*ANY_FAILURE, OSError) as error:
            return self._broken or error
        finally:
            asked.cancel()
            await results.aclose()
        return self._broken

    async def _next(self, results: AsyncGenerator[ChunkResult], asked: asyncio.Task[Any]) -> ChunkResult | None:
        """Return the next result. After a request to stop, wait only for chunks in flight, for a limited time."""
        step = asyncio.create_task(_step(results))
        try:
            await asyncio.wait({step, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done() and self._announced:
                await asyncio.wait({step}, timeout=self._patience())
            return step.result() if step.done() else None
        finally:
            if not step.done():
                step.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await step

    def _patience(self) -> float:
        """Return the seconds to wait for the chunks in flight."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + _LAST_ANSWERS
            waiting = len(self._announced)
            self._bar.say(f"stopping: waiting for the answers to {waiting} batches; once more to leave at once")
        return max(self._deadline - now, 0.0)

    async def _records(self) -> AsyncGenerator[CallRecord | Mapping[str, Any]]:
        """Yield the records of the chunks to send. An invalid record is an empty mapping, which is invalid as well."""
        book = self._journal.chunks
        with contextlib.closing(self._source.rows()) as rows:
            for chunk in range(book.chunks):
                piece = list(islice(rows, MAX_RECORDS))
                if not book.is_pending(chunk):
                    await asyncio.sleep(0)
                    continue
                self._source.check_unchanged()
                if len(piece) != book.size(chunk):
                    raise InputChangedError("the input has not as many records as it had: nothing more is sent from it")
                if self._asked.is_set():
                    return
                in_flight = _InFlight(chunk, {})
                self._fed[self._begun] = in_flight
                self._begun += 1
                for place, row in enumerate(piece):
                    record = self._parser.record(row)
                    if isinstance(record, str):
                        in_flight.faults[place] = record
                        yield {}
                    else:
                        yield record

    def _announce(self, chunk: Chunk) -> None:
        if self._asked.is_set():
            raise _StoppedError("asked to stop")
        in_flight = self._fed[chunk.first // MAX_RECORDS]
        self._journal.sending(in_flight.chunk, _invalid(chunk, in_flight))
        self._announced.add(in_flight.chunk)

    def _take(self, result: ChunkResult) -> None:
        in_flight = self._fed.pop(result.chunk.first // MAX_RECORDS)
        self._announced.discard(in_flight.chunk)
        if not isinstance(result.error, _StoppedError):
            batch_id = result.batch.batch_id if result.batch is not None else ""
            error = describe(result.error) if result.error is not None else ""
            try:
                self._journal.outcome(
                    in_flight.chunk,
                    _state(result),
                    _invalid(result.chunk, in_flight),
                    batch_id=batch_id,
                    error=error,
                )
            except JournalError as failure:
                # Wait for the chunks in flight: each recorded outcome is one unknown less.
                self._broken = failure
        self._bar.show(self._journal.chunks.totals())


async def _step(results: AsyncGenerator[ChunkResult]) -> ChunkResult | None:
    return await anext(results, None)


def _invalid(chunk: Chunk, in_flight: _InFlight) -> dict[int, str]:
    late = {
        place: describe_problems([it])
        for it in chunk.invalid
        if (place := (it.position or 0) - chunk.first) not in in_flight.faults
    }
    return {**in_flight.faults, **late}


def _state(result: ChunkResult) -> ChunkState:
    """Return the state for a result; refusals that do not concern the records may be sent again later."""
    if result.outcome == "refused" and classify(result.error).closed:
        return "unsent"
    return result.outcome
