"""Cut records into chunks, and send chunks as batches, without losing any record or sending any twice.

The two halves are independent: `read_chunks` turns any source of records into chunks, and `send_chunks` sends chunks
from any source. A caller that reads and checks records in its own way builds its chunks with `build_chunk`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
)
from itertools import islice
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from ..errors import InvalidRecordError, Problem, UnknownOutcomeError, VBCError
from ..serialization import Serializable
from .models import Batch
from .records import CallRecord
from .responses import FailureOutcome, classify

RecordSource: TypeAlias = Iterable[CallRecord | Mapping[str, Any]] | AsyncIterable[CallRecord | Mapping[str, Any]]

_MAX_UNKNOWN_IN_A_ROW: Final = 3
_END: Final = object()


@attrs.frozen
class Chunk(Serializable):
    """Hold consecutive records of the input, as they were read.

    Attributes:
        first: position of the first record in the input, counted from 0.
        size: number of records in the input, invalid ones included.
        records: the valid records.
        positions: the positions of the valid records.
        invalid: the problems of the invalid records; each has its position.
    """

    first: int
    size: int
    records: tuple[CallRecord, ...] = attrs.field(repr=False)
    positions: tuple[int, ...] = attrs.field(repr=False)
    invalid: tuple[Problem, ...] = attrs.field(repr=False)


@attrs.frozen
class AcknowledgedChunk(Serializable):
    """Report that the API accepted the valid records of a chunk.

    Attributes:
        chunk: the chunk.
        batch: the batch that they became.
        error: None.
        outcome: ``acknowledged``.
    """

    chunk: Chunk
    batch: Batch
    error: None = attrs.field(default=None, init=False, repr=False)
    outcome: Literal["acknowledged"] = attrs.field(default="acknowledged", init=False)


def _classify(failed: FailedChunk) -> FailureOutcome:
    return classify(failed.error).outcome


@attrs.frozen
class FailedChunk(Serializable):
    """Report that the API did not acknowledge the valid records of a chunk.

    Attributes:
        chunk: the chunk.
        error: why.
        batch: None.
        outcome: ``refused`` by the API; ``unknown``: sent, but the answer was lost; ``unsent``: surely not accepted,
            since nothing was sent.
    """

    chunk: Chunk
    error: Exception
    batch: None = attrs.field(default=None, init=False, repr=False)
    outcome: FailureOutcome = attrs.field(init=False, default=attrs.Factory(_classify, takes_self=True))


@attrs.frozen
class InvalidChunk(Serializable):
    """Report that all records of a chunk are invalid, so nothing was sent.

    Attributes:
        chunk: the chunk; `Chunk.invalid` has the problems.
        batch: None.
        error: None.
        outcome: ``invalid``.
    """

    chunk: Chunk
    batch: None = attrs.field(default=None, init=False, repr=False)
    error: None = attrs.field(default=None, init=False, repr=False)
    outcome: Literal["invalid"] = attrs.field(default="invalid", init=False)


ChunkResult: TypeAlias = AcknowledgedChunk | FailedChunk | InvalidChunk
"""What happened to a chunk. Each class has `chunk`, `batch`, `error` and `outcome`, and a check of `outcome` tells type
checkers which class it is.
"""


@attrs.frozen
class Progress(Serializable):
    """Count the records by outcome so far."""

    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    unsent: int = 0
    invalid: int = 0
    chunks: int = 0

    def after(self, result: ChunkResult) -> Progress:
        """Return the counts with one more result."""
        sizes = {"invalid": self.invalid + result.chunk.size - len(result.chunk.records), "chunks": self.chunks + 1}
        if result.outcome != "invalid":
            sizes[result.outcome] = getattr(self, result.outcome) + len(result.chunk.records)
        return attrs.evolve(self, **sizes)


@attrs.frozen
class PushConfig:
    """Configure how chunks are sent.

    Args:
        send: sends a chunk, and calls its second argument just before the first byte leaves.
        in_flight: how many chunks may wait for their answers at once.
        on_send: see `Calls.push_all`.
        on_progress: see `Calls.push_all`.
    """

    send: Callable[[Chunk, Callable[[], object]], Awaitable[Batch]]
    in_flight: int
    on_send: Callable[[Chunk], object] | None = None
    on_progress: Callable[[Progress], object] | None = None


async def send_chunks(chunks: AsyncIterator[Chunk], config: PushConfig) -> AsyncGenerator[ChunkResult]:
    """Send chunks and yield their results in the order of the answers; see `Calls.push_all`.

    Args:
        chunks: chunks, read one at a time and only while fewer than `PushConfig.in_flight` are being sent. When sending
            has to stop, a read that is still running is cancelled; a chunk that it returns nevertheless is sent. A
            generator is closed at the end.
        config: how to send them.

    Raises:
        Exception: the first error that stopped sending, else the error that `chunks` raised.
    """
    tracker = _ResultTracker(config)
    reading: asyncio.Task[Chunk | BaseException | None] | None = None
    sending: set[asyncio.Task[ChunkResult]] = set()
    ended = False
    read_error: BaseException | None = None
    try:
        while True:
            if reading is None and not ended and tracker.stop is None and len(sending) < config.in_flight:
                reading = asyncio.create_task(_next_chunk(chunks))
            waiting: set[asyncio.Task[Any]] = {*sending, *([reading] if reading is not None else [])}
            if not waiting:
                break
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if reading is not None and reading in done:
                given, reading = reading.result(), None
                if isinstance(given, Chunk):
                    sending.add(asyncio.create_task(_send_chunk(given, config)))
                else:
                    ended, read_error = True, given
            for task in [task for task in sending if task in done]:
                sending.discard(task)
                result = task.result()
                tracker.take(result)
                if tracker.stop is not None and reading is not None:
                    # The source may block forever.
                    reading.cancel()
                yield result
    finally:
        left: list[asyncio.Task[Any]] = [*sending, *([reading] if reading is not None else [])]
        for unfinished in left:
            unfinished.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await _close(chunks)
    if failure := tracker.stop or read_error:
        raise failure


async def _next_chunk(chunks: AsyncIterator[Chunk]) -> Chunk | BaseException | None:
    """Return the next chunk, the error in its place, or None at the end."""
    try:
        return await anext(chunks, None)
    except BaseException as error:
        return error  # raised after the results of all chunks that were read before


async def _close(source: object) -> None:
    """Close an async generator that was not read to its end. A plain one is left as it is: it closes itself."""
    aclose: Callable[[], Awaitable[None]] | None = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()


class _ResultTracker:
    """Count the results, and decide when sending must stop."""

    def __init__(self, config: PushConfig) -> None:
        self.stop: Exception | None = None
        self._progress = Progress()
        self._unknown_in_a_row = 0
        self._on_progress = config.on_progress

    def take(self, result: ChunkResult) -> None:
        self._unknown_in_a_row = self._unknown_in_a_row + 1 if result.outcome == "unknown" else 0
        fatal = result.error is not None and classify(result.error).closed
        if self.stop is None and (fatal or self._unknown_in_a_row >= _MAX_UNKNOWN_IN_A_ROW):
            self.stop = result.error
        self._progress = self._progress.after(result)
        if self._on_progress is None:
            return
        try:
            self._on_progress(self._progress)
        except Exception as error:
            # The chunks in flight, and this one, still get their results.
            self.stop, self._on_progress = self.stop or error, None


async def _send_chunk(chunk: Chunk, config: PushConfig) -> ChunkResult:
    announced: list[Chunk] = []

    def announce() -> None:
        # A chunk is sent again after a 429, perhaps without records whose window has closed meanwhile.
        if not announced:
            _call_on_send(chunk, config)
            announced.append(chunk)

    try:
        while chunk.records:
            try:
                return AcknowledgedChunk(chunk, await config.send(chunk, announce))
            except InvalidRecordError as late:
                chunk = _without(chunk, late.problems)
        return InvalidChunk(chunk)
    except _NotAnnouncedError as failure:
        return FailedChunk(chunk, failure.error)
    except VBCError as error:
        return FailedChunk(chunk, error)
    except Exception as error:
        # For example an error of a middleware; the other chunks keep their results.
        unknown = UnknownOutcomeError(
            f"sending {len(chunk.records)} records failed with an undocumented error, so they may have been accepted: "
            "see .records, and __cause__",
            records=chunk.records,
        )
        unknown.__cause__ = error
        return FailedChunk(chunk, unknown)


def _without(chunk: Chunk, late: Collection[Problem]) -> Chunk:
    """Return the chunk without the records whose window closed before they were sent."""
    gone = {problem.position for problem in late}
    kept = [(one, at) for one, at in zip(chunk.records, chunk.positions, strict=True) if at not in gone]
    return attrs.evolve(
        chunk,
        records=tuple(one for one, _ in kept),
        positions=tuple(at for _, at in kept),
        invalid=tuple(sorted((*chunk.invalid, *late), key=lambda problem: problem.position or 0)),
    )


class _NotAnnouncedError(Exception):
    """Report that `on_send` raised, so the chunk was not sent and must not be retried."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _call_on_send(chunk: Chunk, config: PushConfig) -> None:
    if config.on_send is None:
        return
    try:
        config.on_send(chunk)
    except Exception as error:
        raise _NotAnnouncedError(error) from error


async def read_chunks(records: RecordSource, size: int, now: Callable[[], float]) -> AsyncGenerator[Chunk]:
    """Cut records into chunks of `size`, checking each record as it is read.

    An error of the source is raised after a last chunk of the records that were read before it. A read that is
    cancelled ends like one that failed.

    Args:
        records: see `Calls.push_all`.
        size: records in one chunk.
        now: the wall clock, in seconds since 1970; read when a chunk is complete.
    """
    source: Any = aiter(records) if isinstance(records, AsyncIterable) else iter(records)
    first = 0
    error: BaseException | None = None
    try:
        while True:
            given: deque[CallRecord | InvalidRecordError] = deque()
            try:
                if isinstance(records, AsyncIterable):
                    while len(given) < size and (one := await anext(source, _END)) is not _END:
                        given.append(_validate(one))
                else:
                    # The items read before the source failed stay in the deque.
                    given.extend(map(_validate, islice(cast(Iterable[object], source), size)))
            except BaseException as failure:
                error = failure
            if given:
                yield build_chunk(first, given, now())
            if len(given) < size:
                break
            first += len(given)
    finally:
        await _close(source)
    if error is not None:
        raise error


def build_chunk(first: int, given: Collection[CallRecord | InvalidRecordError], now: float) -> Chunk:
    """Build a chunk from records and from the errors of invalid ones, in the order of the input.

    Args:
        first: position of the first one in the input, counted from 0.
        given: a `CallRecord` for each valid record, an `InvalidRecordError` for each invalid one.
        now: seconds since 1970; a record whose window has closed by then is invalid.
    """
    records: list[CallRecord] = []
    positions: list[int] = []
    invalid: list[Problem] = []
    for position, one in enumerate(given, first):
        if isinstance(one, InvalidRecordError):
            invalid += [attrs.evolve(problem, position=position) for problem in one.problems]
        elif (late := one.late(now)) is not None:
            invalid.append(attrs.evolve(late, position=position))
        else:
            records.append(one)
            positions.append(position)
    return Chunk(first, len(given), tuple(records), tuple(positions), tuple(invalid))


def _validate(given: object) -> CallRecord | InvalidRecordError:
    """Validate immediately, since the source may reuse one dict for all records."""
    if isinstance(given, CallRecord):
        return given
    if type(given) is dict or isinstance(given, Mapping):  # the exact type check is faster
        try:
            return CallRecord.from_mapping(cast(Mapping[str, Any], given))
        except InvalidRecordError as error:
            return error
        except Exception as error:
            return InvalidRecordError([Problem("", f"cannot be read ({type(error).__name__})")])
    return InvalidRecordError([Problem("", f"must be a CallRecord or a mapping, not {type(given).__name__}")])
