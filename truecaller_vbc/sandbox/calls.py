"""Answer the call personalisation endpoints (real-time records, batches and their status)."""

from __future__ import annotations

import json
import random
import uuid
import zlib
from collections import Counter
from typing import Any, Final

import attrs
from aiohttp import web

from .clock import SandboxClock, iso
from .labels import LabelStore
from .records import EITHER, RecordFault, RecordRules
from .responses import (
    InvalidBodyError,
    RefusedError,
    ResponseBuilder,
    drop_optional_fields,
    is_array,
    is_object,
    json_answer,
    json_object,
    raw_json,
)
from .rules import ApiRules

# Like the test numbers of card processors: the last five digits decide.
_BY_ENDING: Final = {
    1: "Not a Truecaller user",
    2: "OS not supported",
    3: "App version not supported",
    4: "Failed to push",
    5: "Invalid input",
}
_ENDINGS: Final = 100_000


class Outcomes:
    """Choose the outcome of a record by its receiver (API reference, "Call Personalisation Errors")."""

    def __init__(self) -> None:
        self._chosen: dict[int, str | None] = {}

    def choose(self, number: str, message: str | None) -> None:
        """Let records for `number` fail with `message` from now on, or succeed if `message` is None.

        Raises:
            ValueError: `number` is not a phone number.
        """
        if not EITHER.fullmatch(number):
            raise ValueError(f"number must be digits with the country code, not {number!r}")
        self._chosen[int(number)] = message

    def failure(self, receiver: int) -> str | None:
        """Return why a record for `receiver` fails, or None if it succeeds."""
        if receiver in self._chosen:
            return self._chosen[receiver]
        return _BY_ENDING.get(receiver % _ENDINGS)


MOST_RECORDS: Final = 500


@attrs.frozen
class StoredBatch:
    """Hold an accepted batch with its compressed body, its arrival, and the invalid fields by record index."""

    id: str
    packed: bytes
    accepted_at: float
    faulty: dict[int, str]

    def records(self) -> list[Any]:
        """Return the records as they were sent."""
        return _records(zlib.decompress(self.packed))


class BatchStore:
    """Keep the accepted batches.

    Attributes:
        sizes: how many records each batch had, forgotten batches included.
    """

    def __init__(self, keep: int) -> None:
        self.sizes: dict[str, int] = {}
        self._keep = keep
        self._kept: dict[str, StoredBatch] = {}

    def add(self, raw: bytes, size: int, now: float, faulty: dict[int, str]) -> StoredBatch:
        """Add a batch; drop the oldest when there are too many."""
        # Records of a campaign are alike: compression takes 280 bytes to about ten, in half a millisecond for 500.
        batch = StoredBatch(str(uuid.uuid4()), zlib.compress(raw, level=1), now, faulty)
        self.sizes[batch.id] = size
        self._kept[batch.id] = batch
        if len(self._kept) > self._keep:
            del self._kept[next(iter(self._kept))]
        return batch

    def get(self, batch_id: str) -> StoredBatch | None:
        """Return the batch, or None if it is unknown or dropped."""
        return self._kept.get(batch_id)


class BatchEndpoint:
    """Accept batches of one version of the path."""

    def __init__(
        self, rules: ApiRules, record_rules: RecordRules, store: BatchStore, accepted: Counter[int], clock: SandboxClock
    ) -> None:
        self._rules = rules
        self._record_rules = record_rules
        self._store = store
        self._accepted = accepted
        self._clock = clock

    async def post(self, request: web.Request) -> web.Response:
        """Return the batch's ID."""
        raw = await request.read()
        records = _records(raw)
        problems = self._problems(records)
        faulty = {place: problem.field for place, problem in problems}
        if problems and self._rules.bad_record == "reject":
            raise InvalidBodyError(*problems[0][1])
        good = records if not faulty else [record for place, record in enumerate(records) if place not in faulty]
        self._accepted.update([int(record["receiver_number"]) for record in good])
        batch = self._store.add(raw, len(records), self._clock.elapsed(), faulty)
        return json_answer({"batch_id": batch.id})

    def _problems(self, records: list[Any]) -> list[tuple[int, RecordFault]]:
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


_FIELDS: Final = ("label_id", "dynamic_label_name", "dynamic_call_reason", "starts_at", "ends_at")
_NEEDED: Final = ("id", "caller_number", "receiver_number", "label_id", "starts_at", "ends_at")
_INVALID_INPUT: Final = "Invalid input"


class BatchStatusEndpoint:
    """Report the outcome of a batch."""

    def __init__(
        self,
        rules: ApiRules,
        store: BatchStore,
        labels: LabelStore,
        outcomes: Outcomes,
        clock: SandboxClock,
    ) -> None:
        self._rules = rules
        self._answers = ResponseBuilder(rules)
        self._store = store
        self._labels = labels
        self._outcomes = outcomes
        self._clock = clock

    async def get(self, request: web.Request) -> web.Response:
        """Return the batch's records with their outcomes."""
        batch_id = request.query.get("batchId")
        if not batch_id:
            raise RefusedError("batchId", "batchId is required")
        batch = self._store.get(batch_id)
        if batch is None:
            raise RefusedError("batchId", "batch not found", status=404)
        body = {
            "client_account_id": request.match_info["account"],
            "batch_id": batch.id,
            "data": self._data(batch),
        }
        return json_answer(drop_optional_fields(body, _needed(body)) if self._rules.sparse else body)

    def _data(self, batch: StoredBatch) -> list[dict[str, Any]]:
        pending = self._clock.elapsed() < batch.accepted_at + self._rules.batch_seconds
        if pending and self._rules.batch_pending == "404":
            raise RefusedError("batchId", "batch not found", status=404)
        if pending and self._rules.batch_pending == "empty":
            return []
        created_at = iso(self._clock.wall(batch.accepted_at))
        data = [
            self._shown(batch, place, record, created_at, pending=pending)
            for place, record in enumerate(batch.records())
        ]
        if self._rules.data_order == "shuffled":
            random.Random(batch.id).shuffle(data)
        return data

    def _shown(self, batch: StoredBatch, place: int, record: Any, created_at: str, *, pending: bool) -> dict[str, Any]:
        record = record if is_object(record) else {}
        shown: dict[str, Any] = {
            "id": f"{batch.id[:24]}{place:012x}",
            "caller_number": _digits(record.get("caller_number")),
            "receiver_number": _digits(record.get("receiver_number")),
            **{name: record[name] for name in _FIELDS if name in record},
        }
        if place not in batch.faulty:
            shown.setdefault("dynamic_label_name", self._labels.name_of(record["label_id"]))
        shown["created_at"] = created_at
        if self._rules.sparse:
            shown = drop_optional_fields(shown, _NEEDED)
        return shown | self._status_info(batch, place, record, pending=pending)

    def _status_info(self, batch: StoredBatch, place: int, record: dict[str, Any], *, pending: bool) -> dict[str, Any]:
        if pending:
            known = self._rules.batch_pending == "pending"
            return self._answers.status_info(self._rules.pending) if known else {}
        if place in batch.faulty:
            return self._answers.status_info("error", _INVALID_INPUT, batch.faulty[place])
        failure = self._outcomes.failure(int(record["receiver_number"]))
        return self._answers.status_info("success" if failure is None else "error", failure)


def _digits(number: Any) -> Any:
    return number.removeprefix("+") if isinstance(number, str) else number


def _needed(body: dict[str, Any]) -> tuple[str, ...]:
    return ("batch_id", "data") if body["data"] else ("batch_id",)


class CallEndpoint:
    """Accept a record, count it in `accepted` by its receiver, and answer with its outcome."""

    def __init__(
        self,
        rules: ApiRules,
        record_rules: RecordRules,
        outcomes: Outcomes,
        accepted: Counter[int],
        clock: SandboxClock,
    ) -> None:
        self._rules = rules
        self._answers = ResponseBuilder(rules)
        self._record_rules = record_rules
        self._outcomes = outcomes
        self._accepted = accepted
        self._clock = clock
        # Bytes, so that the server's share in benchmarks stays small.
        self._success = json.dumps(self._answers.status_info("success", "Record processed successfully")).encode()

    async def post(self, request: web.Request) -> web.Response:
        """Answer with the outcome of the record."""
        record = json_object(await request.read())
        if record is None:
            raise InvalidBodyError("", "the body must be a JSON object")
        problem = self._record_rules.problem(record, self._clock.wall_ms())
        if problem is not None:
            raise InvalidBodyError(*problem)
        receiver = int(record["receiver_number"])
        self._accepted[receiver] += 1
        failure = self._outcomes.failure(receiver)
        return raw_json(self._success) if failure is None else self._failed(failure)

    def _failed(self, message: str) -> web.Response:
        if self._rules.outcome_status == 200:  # noqa: PLR2004
            return json_answer(self._answers.status_info("error", message))
        return self._answers.error(self._rules.outcome_status, message)
