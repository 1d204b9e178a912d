"""Send records in batches, read as needed, without losing any or sending any twice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
)
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, TypeAlias, cast

import aiohttp
import attrs

from ..errors import (
    APIError,
    ForbiddenError,
    InvalidRecordError,
    NotFoundError,
    Problem,
    RateLimitedError,
    UnauthorizedError,
    UnknownOutcomeError,
    VBCError,
)
from .models import Batch
from .records import CallRecord

Given: TypeAlias = CallRecord | Mapping[str, Any]
ChunkOutcome: TypeAlias = Literal["acknowledged", "refused", "unknown", "unsent", "invalid"]

# Refusals that every other chunk would get as well.
_FATAL: Final = (UnauthorizedError, ForbiddenError, NotFoundError, RateLimitedError)
_MAX_UNKNOWN_IN_A_ROW: Final = 3
_END: Final = object()


@attrs.frozen
class Chunk:
    """Hold consecutive records of the input, as they were read.

    Attributes:
        first: the position of the first, counted from 0.
        size: how many positions it covers, the invalid ones included.
        records: the valid ones.
        positions: of each of the valid ones.
        invalid: the problems of all others, by position.
    """

    first: int
    size: int
    records: tuple[CallRecord, ...] = attrs.field(repr=False)
    positions: tuple[int, ...] = attrs.field(repr=False)
    invalid: tuple[Problem, ...] = attrs.field(repr=False)


@attrs.frozen
class ChunkResult:
    """Report what happened to a chunk.

    Attributes:
        chunk: which it is.
        batch: the acknowledged batch, or None.
        error: why the chunk was not acknowledged, or None.
    """

    chunk: Chunk
    batch: Batch | None = None
    error: Exception | None = None

    @property
    def outcome(self) -> ChunkOutcome:
        """Return what happened to the valid records.

        ``acknowledged``; ``refused`` by the API; ``unknown``: sent, but the answer was lost; ``unsent``: surely not
        accepted, since nothing was sent; ``invalid``: the chunk has no valid record.
        """
        if self.batch is not None:
            return "acknowledged"
        if self.error is None:
            return "invalid"
        if isinstance(self.error, UnknownOutcomeError):
            return "unknown"
        return "refused" if isinstance(self.error, APIError) else "unsent"


@attrs.frozen
class Progress:
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
    """Configure how chunks are cut and sent.

    Args:
        most: records in one chunk.
        in_flight: how many may wait for their answers at once.
        now: the wall clock, in seconds since 1970.
        send: sends a chunk, and calls its second argument just before the first byte leaves.
        on_send: see `Calls.push_all`.
        on_progress: see `Calls.push_all`.
    """

    most: int
    in_flight: int
    now: Callable[[], float]
    send: Callable[[Chunk, Callable[[], object]], Awaitable[Batch]]
    on_send: Callable[[Chunk], object] | None = None
    on_progress: Callable[[Progress], object] | None = None


async def push_chunks(
    records: Iterable[Given] | AsyncIterable[Given], config: PushConfig
) -> AsyncGenerator[ChunkResult]:
    """Cut the input into chunks, send them and yield the results; see `Calls.push_all`."""
    reader = _ChunkReader(records, config)
    tracker = _ResultTracker(config)
    reading: asyncio.Task[Chunk | None] | None = None
    sending: set[asyncio.Task[ChunkResult]] = set()
    try:
        while True:
            if reading is None and not reader.ended and tracker.stop is None and len(sending) < config.in_flight:
                reading = asyncio.create_task(reader.read())
            waiting: set[asyncio.Task[Any]] = {*sending, *([reading] if reading is not None else [])}
            if not waiting:
                break
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if reading is not None and reading in done:
                chunk, reading = reading.result(), None
                if chunk is not None:
                    sending.add(asyncio.create_task(_send_chunk(chunk, config)))
            for task in [task for task in sending if task in done]:
                sending.discard(task)
                result = task.result()
                tracker.take(result)
                if tracker.stop is not None and reading is not None:
                    reader.stop(reading)
                yield result
    finally:
        left: list[asyncio.Task[Any]] = [*sending, *([reading] if reading is not None else [])]
        for unfinished in left:
            unfinished.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await reader.close()
    if error := tracker.stop or reader.error:
        raise error


class _ResultTracker:
    """Count the results, and decide when sending must stop."""

    def __init__(self, config: PushConfig) -> None:
        self.stop: Exception | None = None
        self._progress = Progress()
        self._unknown_in_a_row = 0
        self._on_progress = config.on_progress

    def take(self, result: ChunkResult) -> None:
        self._unknown_in_a_row = self._unknown_in_a_row + 1 if result.outcome == "unknown" else 0
        closed = result.outcome == "unsent" or isinstance(result.error, _FATAL)
        if self.stop is None and (closed or self._unknown_in_a_row >= _MAX_UNKNOWN_IN_A_ROW):
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
    if not chunk.records:
        return ChunkResult(chunk)
    try:
        return ChunkResult(chunk, await config.send(chunk, partial(_call_on_send, chunk, config)))
    except _NotAnnouncedError as failure:
        return ChunkResult(chunk, error=failure.error)
    except (VBCError, aiohttp.ClientError, TimeoutError) as error:
        return ChunkResult(chunk, error=error)
    except Exception as error:
        # For example an error of a middleware; the other chunks keep their results.
        unknown = UnknownOutcomeError(
            f"sending {len(chunk.records)} records failed in a way that is nobody's documented one, so they may have "
            "been taken: see .records, and __cause__",
            records=chunk.records,
        )
        unknown.__cause__ = error
        return ChunkResult(chunk, error=unknown)


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


class _ChunkReader:
    """Read chunks. An error of the source ends reading, and is raised after everything read before has been sent."""

    def __init__(self, records: Iterable[Given] | AsyncIterable[Given], config: PushConfig) -> None:
        self.ended = False
        self.error: BaseException | None = None
        self._position = 0
        self._most = config.most
        self._now = config.now
        # Exactly one of the two is set.
        self._one_by_one: Iterator[Given] | None = None if isinstance(records, AsyncIterable) else iter(records)
        self._many: Any = aiter(records) if isinstance(records, AsyncIterable) else None

    async def read(self) -> Chunk | None:
        """Return the next chunk; None at the end."""
        first, now = self._position, self._now()
        given: deque[CallRecord | InvalidRecordError] = deque()
        look = partial(_validate, now=now)
        try:
            if self._one_by_one is not None:
                # The items read before the source failed stay in the deque.
                given.extend(map(look, islice(self._one_by_one, self._most)))
            else:
                while len(given) < self._most and (one := await anext(self._many, _END)) is not _END:
                    given.append(look(one))
            self.ended = self.ended or len(given) < self._most
        except asyncio.CancelledError as error:
            # Raised by `stop`, by the cancellation of the whole push, or by the source itself.
            if not self.ended:
                self.ended, self.error = True, error
        except Exception as error:
            self.ended, self.error = True, error
        self._position += len(given)
        return self._chunk(first, given) if given else None

    def _chunk(self, first: int, given: Iterable[CallRecord | InvalidRecordError]) -> Chunk:
        records: list[CallRecord] = []
        invalid: list[Problem] = []
        left_out: set[int] = set()
        for position, one in enumerate(given, first):
            if isinstance(one, InvalidRecordError):
                left_out.add(position)
                invalid += [attrs.evolve(problem, position=position) for problem in one.problems]
            else:
                records.append(one)
        positions = range(first, self._position)
        valid = tuple(position for position in positions if position not in left_out) if left_out else tuple(positions)
        return Chunk(first, len(positions), tuple(records), valid, tuple(invalid))

    def stop(self, reading: asyncio.Task[Any]) -> None:
        """Stop reading, since the source may block forever. What has been read is kept."""
        self.ended = True
        reading.cancel()

    async def close(self) -> None:
        """Close a generator that was not read to its end."""
        aclose: Callable[[], Awaitable[None]] | None = getattr(self._many, "aclose", None)
        if aclose is not None:
            await aclose()


def _validate(given: object, now: float) -> CallRecord | InvalidRecordError:
    """Validate immediately, since the source may reuse one dict for all records."""
    try:
        return _record(given, now)
    except InvalidRecordError as error:
        return error


def _record(given: object, now: float) -> CallRecord:
    """Return the record, if it is valid.

    Raises:
        InvalidRecordError: it is not.
    """
    if type(given) is CallRecord:
        record = given
    elif type(given) is dict or isinstance(given, Mapping):  # the exact type check is faster
        try:
            record = CallRecord.from_mapping(cast(Mapping[str, Any], given))
        except InvalidRecordError:
            raise
        except Exception as error:
            raise InvalidRecordError([Problem("", f"cannot be read ({type(error).__name__})")]) from error
    elif isinstance(given, CallRecord):
        record = given
    else:
        raise InvalidRecordError([Problem("", f"must be a CallRecord or a mapping, not {type(given).__name__}")])
    if (late := record.late(now)) is not None:
        raise InvalidRecordError([late])
    return record
