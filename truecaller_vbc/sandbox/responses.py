"""Build the server's responses (envelopes, JSON bodies, pages of lists)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final, TypeGuard, TypeVar

import attrs
from aiohttp import web

from .rules import ApiRules, DeadToken, OverQuota

_LOGIN_AGAIN = "please login again"
_ENVELOPES = {
    400: ("invalid-input", "invalid input"),
    401: ("authorization-error", _LOGIN_AGAIN),
    403: ("forbidden-error", "not authorized. please contact your admin."),
    404: ("not-found", "not found"),
    413: ("invalid-input", "request body is too large"),
    429: ("too-many-requests", "too many requests"),
}
_SERVER_ERROR = ("internal-server-error", "internal server error")


def json_answer(body: Any, status: int = 200) -> web.Response:
    """Return `body` as a JSON response."""
    return raw_json(json.dumps(body).encode(), status)


def raw_json(body: bytes, status: int = 200) -> web.Response:
    """Return `body`, which is JSON text already, as a response."""
    return web.Response(body=body, status=status, content_type="application/json")


def usual_words(status: int) -> tuple[str, str]:
    """Return the usual_words slug and message of an error status."""
    return _ENVELOPES.get(status, _SERVER_ERROR if status >= 500 else _ENVELOPES[400])  # noqa: PLR2004


def refusal(status: int, message: str | None = None) -> web.Response:
    """Return an E1 envelope with the status's slug, and its usual_words message if `message` is not given."""
    slug, words = usual_words(status)
    return json_answer({"slug": slug, "message": message or words}, status)


def dead_token(kind: DeadToken) -> web.Response:
    """Return the answer to an invalid token."""
    if kind == "500":
        return refusal(500, "500/50011 - Failed to parse token")
    if kind == "401-flat":
        return json_answer({"field": "", "message": _LOGIN_AGAIN, "status": "error"}, 401)
    return refusal(401)


def quota_spent(kind: OverQuota, free_in: float) -> web.Response:
    """Return the answer to a mint beyond the quota, which is free again in `free_in` seconds."""
    answer = refusal(int(kind[:3]), "maximum number of tokens exceeded")
    if kind == "429-retry-after":
        answer.headers["Retry-After"] = retry_after(free_in)
    return answer


def retry_after(free_in: float) -> str:
    """Return `free_in` as the whole seconds of a ``Retry-After``, at least one."""
    # Round first, or floating-point noise would add a whole second.
    return str(max(1, math.ceil(round(free_in, 6))))


class RefusedError(Exception):
    """Refuse a request whose input is invalid, or with another `status`."""

    def __init__(self, field: str, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.status = status


class InvalidBodyError(RefusedError):
    """Refuse a request body, with the documented words."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, f"Request body is invalid: {message}")


class ResponseBuilder:
    """Build answers by the rules."""

    def __init__(self, rules: ApiRules) -> None:
        self._rules = rules

    def refused(self, error: RefusedError) -> web.Response:
        """Return the answer to a refused request."""
        if error.status is not None:
            return self.error(error.status, error.message, error.field)
        return json_answer(self._enveloped(400, error.field, error.message), self._rules.validation_status)

    def error(self, status: int, message: str | None = None, field: str = "") -> web.Response:
        """Return an error with `status`, and the usual_words message if `message` is not given."""
        return json_answer(self._enveloped(status, field, message), status)

    def too_many(self, free_in: float) -> web.Response:
        """Return the answer to a request beyond the rate limit; there is room in `free_in` seconds."""
        answer = self.error(429)
        if self._rules.retry_after:
            answer.headers["Retry-After"] = retry_after(free_in)
        return answer

    def status_info(self, status: str, message: str | None = None, field: str | None = None) -> dict[str, Any]:
        """Return ``status_info`` in the spelling of the rules."""
        info = {"status": status, "field": field, "message": message}
        return {self._rules.status_key: {name: value for name, value in info.items() if value is not None}}

    def _enveloped(self, status: int, field: str, message: str | None) -> dict[str, Any]:
        slug, words = usual_words(status)
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


def json_object(raw: bytes) -> dict[str, Any] | None:
    """Return the JSON object in `raw`, or None for anything else."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return body if is_object(body) else None


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Tell whether `value` is a JSON object."""
    return isinstance(value, dict)


def is_array(value: Any) -> TypeGuard[list[Any]]:
    """Tell whether `value` is a JSON array."""
    return isinstance(value, list)


def drop_optional_fields(item: dict[str, Any], needed: Container[str]) -> dict[str, Any]:
    """Return `item` with its needed fields; the other fields are null or missing in turn."""
    others = [name for name in item if name not in needed]
    missing = set(others[1::2])
    return {name: value if name in needed else None for name, value in item.items() if name not in missing}


_T = TypeVar("_T")
_WHOLE: Final = re.compile(r"[0-9]{1,9}")


@attrs.frozen
class PageRequest:
    """Name the requested page.

    Attributes:
        place: how many pages go before it.
        size: number of items on a page.
    """

    place: int
    size: int

    def count(self, items: Sequence[Any]) -> int:
        """Return how many pages `items` take."""
        return -(-len(items) // self.size)

    def of(self, items: Sequence[_T]) -> Sequence[_T]:
        """Return the items on this page."""
        return items[self.place * self.size : (self.place + 1) * self.size]

    def or_last(self, items: Sequence[Any]) -> PageRequest:
        """Return this page, or the last one if it is beyond the end."""
        return attrs.evolve(self, place=min(self.place, max(0, self.count(items) - 1)))


def requested_page(query: Mapping[str, str], rules: ApiRules) -> PageRequest:
    """Return the page that `query` asks for.

    Raises:
        RefusedError: ``page`` or ``limit`` is not a number or too small.
    """
    number = _whole(query, "page", rules.first_page, rules.first_page)
    return PageRequest(number - rules.first_page, _whole(query, "limit", rules.page_size, 1))


def _whole(query: Mapping[str, str], name: str, usual_words: int, least: int) -> int:
    text = query.get(name)
    if text is None:
        return usual_words
    if not _WHOLE.fullmatch(text) or int(text) < least:
        raise RefusedError(name, f"{name} must be an integer of {least} or more")
    return int(text)
