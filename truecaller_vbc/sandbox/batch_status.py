"""``GET /v2`` and ``/v3/clients/{id}/dynamic_call_records``: what became of a batch (API reference, "D").

A batch is finished once its time has passed on the sandbox's clock; nothing runs meanwhile. What becomes of its
records is decided whenever it is asked for. Either version's path knows the batches of both. The numbers have no plus,
as in the documents' example.
"""

from __future__ import annotations

import random
from typing import Any, Final

from aiohttp import web

from .answers import json_answer
from .api_answers import ApiAnswers, RefusedError
from .api_rules import ApiRules
from .batches import Batch, BatchBook
from .bodies import is_object
from .clock import SandboxClock, iso
from .labels import LabelBook
from .outcomes import Outcomes
from .thinning import thinned

_FIELDS: Final = ("label_id", "dynamic_label_name", "dynamic_call_reason", "starts_at", "ends_at")
_NEEDED: Final = ("id", "caller_number", "receiver_number", "label_id", "starts_at", "ends_at")
_INVALID_INPUT: Final = "Invalid input"


class BatchStatusEndpoint:
    """Tells what became of a batch."""

    def __init__(
        self,
        rules: ApiRules,
        book: BatchBook,
        labels: LabelBook,
        outcomes: Outcomes,
        clock: SandboxClock,
    ) -> None:
        self._rules = rules
        self._answers = ApiAnswers(rules)
        self._book = book
        self._labels = labels
        self._outcomes = outcomes
        self._clock = clock

    async def get(self, request: web.Request) -> web.Response:
        """The batch's records, each with what became of it."""
        batch_id = request.query.get("batchId")
        if not batch_id:
            raise RefusedError("batchId", "batchId is required")
        batch = self._book.get(batch_id)
        if batch is None:
            raise RefusedError("batchId", "batch not found", status=404)
        body = {
            "client_account_id": request.match_info["account"],
            "batch_id": batch.id,
            "data": self._data(batch),
        }
        return json_answer(thinned(body, _needed(body)) if self._rules.sparse else body)

    def _data(self, batch: Batch) -> list[dict[str, Any]]:
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

    def _shown(self, batch: Batch, place: int, record: Any, created_at: str, *, pending: bool) -> dict[str, Any]:
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
            shown = thinned(shown, _NEEDED)
        return shown | self._status_info(batch, place, record, pending=pending)

    def _status_info(self, batch: Batch, place: int, record: dict[str, Any], *, pending: bool) -> dict[str, Any]:
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
