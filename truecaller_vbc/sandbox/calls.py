"""``POST /v2/clients/{id}/dynamic_call_record``: one record, at once (API reference, "B")."""

from __future__ import annotations

import json
from collections import Counter

from aiohttp import web

from .answers import json_answer, raw_json
from .api_answers import ApiAnswers, InvalidBodyError
from .api_rules import ApiRules
from .bodies import json_object
from .clock import SandboxClock
from .outcomes import Outcomes
from .record_rules import RecordRules


class CallEndpoint:
    """Takes a record, counts it in `accepted` by its receiver, and says what became of it."""

    def __init__(
        self,
        rules: ApiRules,
        record_rules: RecordRules,
        outcomes: Outcomes,
        accepted: Counter[int],
        clock: SandboxClock,
    ) -> None:
        self._rules = rules
        self._answers = ApiAnswers(rules)
        self._record_rules = record_rules
        self._outcomes = outcomes
        self._accepted = accepted
        self._clock = clock
        # Bytes, since benchmarks call this endpoint: the server's share of their time should stay small.
        self._success = json.dumps(self._answers.status_info("success", "Record processed successfully")).encode()

    async def post(self, request: web.Request) -> web.Response:
        """What became of the record."""
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
