"""Announce calls to the API, one by one or in batches (`vbc.calls`)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, Literal, TypeAlias, Unpack, cast

import attrs

from ..durations import as_duration
from ..errors import (
    ConfigurationError,
    InvalidRecordError,
    NotFoundError,
    Problem,
    StillPendingError,
)
from ..secret import SecretBytes
from .client import ApiClient, ApiRequest
from .models import Batch, BatchStatus, PushResult, Status
from .policy import APIPolicy, CallOptions
from .push import Chunk, ChunkResult, Progress, PushConfig, RecordSource, read_chunks, send_chunks
from .records import CallRecord, plain, without_plus
from .responses import JSON
from .wire import is_list_of, read, spelled

Version: TypeAlias = Literal["v3", "v2"]

MAX_RECORDS: Final = 500
"""Records in one batch (API reference, "Rate limits and size limits")."""

_RECORD_KEYS: Final = ("id", "caller_number", "receiver_number", "caller", "receiver")
_REALTIME: Final = "/v2/clients/{account}/dynamic_call_record"
_BATCH: Final = "clients/{account}/dynamic_call_records"
_RENDERING: Final[Mapping[str, tuple[Callable[[str], str], Callable[[str], str]]]] = {
    # As in the documents' own examples: v2 mixes both forms.
    "v3": (plain, plain),
    "v2": (plain, without_plus),
}


class Calls:
    """Announce calls, so that the receiver's phone shows the caller (API reference, "Call personalisation").

    Success means that the API accepted the record, not that a phone has shown anything.

    Args:
        client: client that sends the requests.
        now: the wall clock, in seconds since 1970.
    """

    def __init__(self, client: ApiClient, now: Callable[[], float]) -> None:
        self._client = client
        self._now = now

    async def push(self, record: CallRecord, **options: Unpack[CallOptions]) -> PushResult:
        """Send one record with the real-time endpoint (v2), at most 100 in a second.

        Repeated after 429, 502, 503, 504 and lost connections, since sending the same record twice does no harm.

        Args:
            record: the record.
            options: ``timeout=`` and ``attempts=``, in place of those of `APIPolicy`, as in all typed calls.

        Raises:
            InvalidRecordError: the record's window has already closed; nothing was sent.
            NotDeliveredError: it cannot reach this receiver; ``reason`` says why.
            APIError: the API refused it.
            TokenError: no token could be had.
            APIConnectionError: the API could not be reached, or did not answer.
        """
        if (late := _checked(record).late(self._now())) is not None:
            raise InvalidRecordError([late])

        def check() -> None:
            if (late := record.late(self._now())) is not None:
                raise InvalidRecordError([late])

        body = SecretBytes(record.encoded(without_plus, without_plus).encode())
        return await self._client.send(
            ApiRequest(
                "POST",
                _REALTIME,
                _read_push,
                body,
                limiter=self._client.realtime,
                check=check,
                call="calls.push",
                policy=self._client.policy_for(options) if options else None,
            )
        )

    async def push_batch(
        self, records: Sequence[CallRecord], *, version: Version = "v3", **options: Unpack[CallOptions]
    ) -> Batch:
        """Send 1 to 500 records, which the server processes later; see `batch_status` for their results.

        At most 60 batches in a minute. Repeated after a 429 only: a batch whose answer was lost is not.

        Args:
            records: 1 to 500.
            version: version of the endpoint; ``"v2"`` is the previous one.
            options: as in `push`.

        Raises:
            InvalidRecordError: some records are invalid; the error names each record and field. Nothing was sent.
            UnknownOutcomeError: the batch may have been accepted; ``records`` has its records.
            APIError: the whole batch was refused.
            TokenError: no token could be had.
            APIConnectionError: the API could not be reached, or did not answer.
        """
        records = tuple(records)
        if not 1 <= len(records) <= MAX_RECORDS:
            raise InvalidRecordError([Problem("call_records", f"must be 1 to 500 records, not {len(records)}")])
        for position, record in enumerate(records):
            _checked(record, position)
        policy = self._client.policy_for(options)
        return await self._send_batch(records, version, range(len(records)), policy)

    async def batch_status(
        self, batch: Batch | str, *, version: Version = "v3", **options: Unpack[CallOptions]
    ) -> BatchStatus:
        """Return the progress of a batch. Before the server has started on it, it may have no records or not be found.

        Args:
            batch: the result of `push_batch`, or a batch's ID.
            version: in which the batch was sent, for a bare ID.
            options: as in `push`.

        Raises:
            NotFoundError: the server does not know it, or not yet.
            APIError: the API refused it.
            TokenError: no token could be had.
            APIConnectionError: the API could not be reached, or did not answer.
        """
        batch_id, version, _ = _batch_key(batch, version)
        status = await self._client.send(
            ApiRequest(
                "GET",
                f"/{_version(version)}/{_BATCH}",
                _read_batch_status,
                params={"batchId": batch_id},
                call="calls.batch_status",
                policy=self._client.policy_for(options),
            )
        )
        return status if status.batch_id else attrs.evolve(status, batch_id=batch_id)

    async def wait_for_batch(
        self, batch: Batch | str, *, timeout: float | timedelta, version: Version = "v3"
    ) -> BatchStatus:
        """Wait until all records of a batch are final, asking for its status with growing pauses.

        A batch that is not found yet, a record without a status, and a status that is not documented are not final.

        Args:
            batch: the result of `push_batch`, or a batch's ID; the former also tells how many records to wait for.
            timeout: how long to wait, in seconds.
            version: in which the batch was sent, for a bare ID.

        Raises:
            StillPendingError: the timeout passed; ``done`` is the last `BatchStatus`, or None.
            APIError: the API refused it.
            TokenError: no token could be had.
            APIConnectionError: the API could not be reached, or did not answer.
        """
        batch_id, version, size = _batch_key(batch, version)
        last: BatchStatus | None = None

        async def look() -> bool:
            nonlocal last
            with contextlib.suppress(NotFoundError):
                last = await self.batch_status(batch_id, version=version)
            return last is not None and last.final and len(last.data) >= size

        limit = as_duration(timeout, owner="timeout=")
        if await self._client.poll_until(look, limit) and last is not None:
            return last
        known = 0 if last is None else sum(record.status.final for record in last.data)
        raise StillPendingError(
            f"batch {batch_id} is not done after {limit}: {known} of its records are; ask again later",
            done=last,
            pending=batch,
        )

    def push_all(
        self,
        records: RecordSource,
        *,
        version: Version = "v3",
        in_flight: int = 4,
        on_send: Callable[[Chunk], object] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> AsyncGenerator[ChunkResult]:
        """Send any number of records in batches of 500, at most 60 in a minute, and yield the result of each batch.

        Records are read as they are needed, so memory does not grow with their number; an async generator is closed at
        the end. Invalid records, and those whose window closes before they are sent, are left out and named in the
        result. A batch that is refused, or whose answer is lost, does not stop the others.

        Args:
            records: `CallRecord` or mappings (see `CallRecord.from_mapping`), from any iterable or async iterable.
            version: version of the endpoint.
            in_flight: how many batches may wait for their answers at once.
            on_send: called with each `Chunk` just before its first byte leaves, for a journal. A caller that stops
                early has no result for the chunks announced here and not yielded: they may have been sent.
            on_progress: called with a `Progress` for each result, before it is yielded.

        Yields:
            a `ChunkResult` for every 500 records that were read, in the order of the answers.

        Raises:
            TokenError: no token could be had. This and the following errors mean that nothing more can be sent; the
                results of everything that was read have been yielded before.
            UnauthorizedError: and `ForbiddenError`, `NotFoundError`, `RateLimitedError`, and `APIError` of a redirect.
            UnknownOutcomeError: several batches in a row had no usable answer.
            SessionClosedError: the session is closed.
            APIConnectionError: the API could not be reached, or did not answer.
            Exception: whatever `records`, `on_send` or `on_progress` raised.
        """
        chunks = read_chunks(records, MAX_RECORDS, self._now)
        return self.push_chunks(chunks, version=version, in_flight=in_flight, on_send=on_send, on_progress=on_progress)

    def push_chunks(
        self,
        chunks: AsyncIterator[Chunk],
        *,
        version: Version = "v3",
        in_flight: int = 4,
        on_send: Callable[[Chunk], object] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> AsyncGenerator[ChunkResult]:
        """Send chunks that the caller has read and checked; the second half of `push_all`.

        Args:
            chunks: chunks of at most 500 valid records; see `truecaller_vbc.api.push.build_chunk`.
            version: as in `push_all`.
            in_flight: as in `push_all`.
            on_send: as in `push_all`.
            on_progress: as in `push_all`.

        Yields:
            a `ChunkResult` for every chunk, in the order of the answers.

        Raises:
            Exception: as `push_all`; whatever `chunks` raised.
        """

        async def send(chunk: Chunk, announce: Callable[[], object]) -> Batch:
            return await self._send_batch(chunk.records, version, chunk.positions, policy, announce)

        policy = self._client.policy_for({}, patient=True)
        _version(version)
        if type(in_flight) is not int or in_flight < 1:
            raise ConfigurationError("push_all(in_flight=...) must be an int of 1 or more")
        return send_chunks(chunks, PushConfig(send, in_flight, on_send, on_progress))

    async def _send_batch(
        self,
        records: Sequence[CallRecord],
        version: Version,
        positions: Sequence[int],
        policy: APIPolicy | None,
        on_send: Callable[[], object] | None = None,
    ) -> Batch:
        first_end = min((record.ends_at for record in records), default=0)

        def check() -> None:
            now = self._now()
            if first_end >= now * 1000:  # the usual case
                return
            problems = [
                attrs.evolve(late, position=position)
                for position, record in zip(positions, records, strict=True)
                if (late := record.late(now)) is not None
            ]
            if problems:
                raise InvalidRecordError(problems)

        caller, receiver = _RENDERING[_version(version)]
        check()
        body = SecretBytes(
            f'{{"call_records":[{",".join([record.encoded(caller, receiver) for record in records])}]}}'.encode()
        )
        batch_id = await self._client.send(
            ApiRequest(
                "POST",
                f"/{version}/{_BATCH}",
                _read_batch_id,
                body,
                limiter=self._client.batch,
                records=records,
                check=check,
                on_send=on_send,
                call="calls.push_batch",
                policy=policy,
            )
        )
        return Batch(batch_id, version, len(records))


def _read_push(answer: JSON) -> PushResult | None:
    if not isinstance(answer, dict):
        return None
    fields = cast(dict[str, JSON], answer)
    info = fields.get("status_info") or fields.get("statusInfo") or fields
    if isinstance(info, dict):  # Fast path for the usual answer.
        fields = cast(dict[str, JSON], info)
        if fields.get("status") == "success" and type(message := fields.get("message")) is str:
            return PushResult(Status.SUCCESS, message)
    result = read(info, PushResult)
    return result if result.status is Status.SUCCESS else None


def _read_batch_id(answer: JSON) -> str | None:
    batch_id = spelled(cast(dict[str, JSON], answer), "batch_id") if isinstance(answer, dict) else None
    if not isinstance(batch_id, str | int) or isinstance(batch_id, bool):
        return None
    return str(batch_id) if batch_id and str(batch_id).strip() else None


def _read_batch_status(answer: JSON) -> BatchStatus | None:
    if is_list_of(answer, *_RECORD_KEYS):  # the deprecated v1 endpoint answers with a list
        answer = dict[str, JSON](data=answer)
    if not isinstance(answer, dict):
        return None
    fields = cast(dict[str, JSON], answer)
    data = fields.get("data")
    if not is_list_of(data) and (data is not None or not spelled(fields, "batch_id")):
        return None
    # A record that is no object has no status either; without it, the others would look like the whole batch.
    records: list[JSON] = [record if isinstance(record, dict) else {} for record in data or []]
    return read(fields | {"data": records}, BatchStatus)


def _checked(record: object, position: int | None = None) -> CallRecord:
    if not isinstance(record, CallRecord):
        raise InvalidRecordError([Problem("", f"must be a CallRecord, not {type(record).__name__}", position)])
    return record


def _version(version: Version) -> Version:
    if version not in _RENDERING:
        raise ConfigurationError(f"version= must be one of {', '.join(_RENDERING)}, not {version!r}")
    return version


def _batch_key(batch: Batch | str, version: Version) -> tuple[str, Version, int]:
    """Return a batch's ID, its version, and the smallest number of records that it has."""
    if isinstance(batch, Batch):
        return batch.batch_id, _version(batch.version), batch.size
    if not batch:
        raise ConfigurationError("a batch needs its ID")
    return batch, _version(version), 1
