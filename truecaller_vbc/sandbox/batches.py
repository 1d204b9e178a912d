"""``POST /v2`` and ``/v3/clients/{id}/dynamic_call_records``: batches (API reference, "C")."""

from __future__ import annotations

import uuid
import zlib
from collections import Counter
from typing import Any, Final

import attrs
from aiohttp import web

from .answers import json_answer
from .api_answers import InvalidBodyError
from .api_rules import ApiRules
from .bodies import is_array, json_object
from .clock import SandboxClock
from .record_rules import Problem, RecordRules

MOST_RECORDS: Final = 500


@attrs.frozen
class Batch:
    """A batch that was accepted: its compressed body, when it came, and the fields at fault by the record's place."""

    id: str
    packed: bytes
    accepted_at: float
    faulty: dict[int, str]

    def records(self) -> list[Any]:
        """The records as they came."""
        return _records(zlib.decompress(self.packed))


class BatchBook:
    """The batches that were accepted.

    Attributes:
        sizes: how many records each batch had, forgotten batches included.
    """

    def __init__(self, keep: int) -> None:
        self.sizes: dict[str, int] = {}
        self._keep = keep
        self._kept: dict[str, Batch] = {}

    def add(self, raw: bytes, size: int, now: float, faulty: dict[int, str]) -> Batch:
        """A new batch; the oldest is forgotten when there are too many."""
        # Records of one campaign are alike: some 280 bytes each become about ten, in half a millisecond for 500.
        batch = Batch(str(uuid.uuid4()), zlib.compress(raw, level=1), now, faulty)
        self.sizes[batch.id] = size
        self._kept[batch.id] = batch
        if len(self._kept) > self._keep:
            del self._kept[next(iter(self._kept))]
        return batch

    def get(self, batch_id: str) -> Batch | None:
        """The batch, or None if there was none or it is forgotten."""
        return self._kept.get(batch_id)


class BatchEndpoint:
    """Takes batches of one version of the path."""

    def __init__(
        self, rules: ApiRules, record_rules: RecordRules, book: BatchBook, accepted: Counter[int], clock: SandboxClock
    ) -> None:
        self._rules = rules
        self._record_rules = record_rules
        self._book = book
        self._accepted = accepted
        self._clock = clock

    async def post(self, request: web.Request) -> web.Response:
        """The batch's ID."""
        raw = await request.read()
        records = _records(raw)
        problems = self._problems(records)
        faulty = {place: problem.field for place, problem in problems}
        if problems and self._rules.bad_record == "reject":
            raise InvalidBodyError(*problems[0][1])
        good = records if not faulty else [record for place, record in enumerate(records) if place not in faulty]
        self._accepted.update([int(record["receiver_number"]) for record in good])
        batch = self._book.add(raw, len(records), self._clock.elapsed(), faulty)
        return json_answer({"batch_id": batch.id})

    def _problems(self, records: list[Any]) -> list[tuple[int, Problem]]:
        now_ms = self._clock.wall_ms()
        check = self._record_rules.problem
        return [
            (place, problem) for place, record in enumerate(records) if (problem := check(record, now_ms)) is not None
        ]


def _records(raw: bytes) -> list[Any]:
    body = json_object(raw)
    if body is None:
        raise InvalidBodyError("", "the body must be a JSON object")
    if body.get("call_records") is None:
        raise InvalidBodyError("call_records", "call_records is required")
    records = body["call_records"]
    if not is_array(records) or not 1 <= len(records) <= MOST_RECORDS:
        raise InvalidBodyError("call_records", f"call_records must be an array of 1 to {MOST_RECORDS} records")
    return records
