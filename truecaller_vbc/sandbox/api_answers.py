"""How the endpoints behind the token answer: errors in the chosen envelope, and outcomes of records."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .answers import json_answer, retry_after, usual
from .api_rules import ApiRules


class RefusedError(Exception):
    """The request is not served: its input is at fault, or with a `status`, what that says."""

    def __init__(self, field: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.status = status


class InvalidBodyError(RefusedError):
    """The request body is at fault, which the documents say in this way."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, f"Request body is invalid: {message}")


class ApiAnswers:
    """Builds answers by the rules."""

    def __init__(self, rules: ApiRules) -> None:
        self._rules = rules

    def refused(self, error: RefusedError) -> web.Response:
        """The answer to a request that is not served."""
        if error.status is not None:
            return self.error(error.status, error.message, error.field)
        return json_answer(self._enveloped(400, error.field, error.message), self._rules.validation_status)

    def error(self, status: int, message: str | None = None, field: str = "") -> web.Response:
        """An error with `status`, and the usual message unless one is given."""
        return json_answer(self._enveloped(status, field, message), status)

    def too_many(self, free_in: float) -> web.Response:
        """What a request beyond the rate limit gets; there is room in `free_in` seconds."""
        answer = self.error(429)
        if self._rules.retry_after:
            answer.headers["Retry-After"] = retry_after(free_in)
        return answer

    def status_info(self, status: str, message: str | None = None, field: str | None = None) -> dict[str, Any]:
        """``status_info``, in the spelling of the rules."""
        info = {"status": status, "field": field, "message": message}
        return {self._rules.status_key: {name: value for name, value in info.items() if value is not None}}

    def _enveloped(self, status: int, field: str, message: str | None) -> dict[str, Any]:
        slug, words = usual(status)
        message = message or words
        match self._rules.envelope:
            case "E1":
                return {"slug": slug, "message": message}
            case "E2":
                return {"field": field, "message": message, "status": "error"}
            case "E3":
                return self.status_info("error", message, field)
            case "E5":
                return {"message": message}
