"""The bodies that the documents show, as answers (API reference, "Error envelopes seen")."""

from __future__ import annotations

import json
import math
from typing import Any

from aiohttp import web

from .rules import DeadToken, OverQuota

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
    """`body` as JSON."""
    return raw_json(json.dumps(body).encode(), status)


def raw_json(body: bytes, status: int = 200) -> web.Response:
    """`body`, which is JSON already."""
    return web.Response(body=body, status=status, content_type="application/json")


def usual(status: int) -> tuple[str, str]:
    """The slug and the message that go with an error status."""
    return _ENVELOPES.get(status, _SERVER_ERROR if status >= 500 else _ENVELOPES[400])  # noqa: PLR2004


def refusal(status: int, message: str | None = None) -> web.Response:
    """An E1 envelope: the slug goes with the status, and so does the message unless one is given."""
    slug, words = usual(status)
    return json_answer({"slug": slug, "message": message or words}, status)


def dead_token(kind: DeadToken) -> web.Response:
    """What a token that is not good gets."""
    if kind == "500":
        return refusal(500, "500/50011 - Failed to parse token")
    if kind == "401-flat":
        return json_answer({"field": "", "message": _LOGIN_AGAIN, "status": "error"}, 401)
    return refusal(401)


def quota_spent(kind: OverQuota, free_in: float) -> web.Response:
    """What a mint beyond the window gets; it is free again in `free_in` seconds."""
    answer = refusal(int(kind[:3]), "maximum number of tokens exceeded")
    if kind == "429-retry-after":
        answer.headers["Retry-After"] = retry_after(free_in)
    return answer


def retry_after(free_in: float) -> str:
    """`free_in` in the whole seconds of a ``Retry-After``, at least one."""
    # Rounded first, or the noise of a subtraction would add a whole second.
    return str(max(1, math.ceil(round(free_in, 6))))
