"""What reached the sandbox, without anything secret."""

from __future__ import annotations

from collections import deque

import attrs
from aiohttp import web

from .tokens import fingerprint

_MOST_RECORDS = 100_000
_BEARER = "Bearer "


@attrs.frozen
class RequestRecord:
    """One request that reached a handler.

    Attributes:
        at: when it arrived, on the sandbox's clock.
        method: ``POST`` for example.
        path: without the query.
        status: the answer's status, or None when no whole answer went out: dropped, hung, or the client left.
        fingerprint: 8 hex digits of the SHA-256 of the bearer token, or None if there was none.
        has_authorization: whether there was an ``Authorization`` header at all.
    """

    at: float
    method: str
    path: str
    status: int | None
    fingerprint: str | None
    has_authorization: bool


class RequestLog:
    """The last 100,000 records, in the order in which the requests ended.

    Attributes:
        token_requests: how many requests reached the token endpoint.
    """

    def __init__(self) -> None:
        self.token_requests = 0
        self._records: deque[RequestRecord] = deque(maxlen=_MOST_RECORDS)

    def note(self, at: float, request: web.Request, status: int | None) -> None:
        """Keep a record of `request`."""
        token = bearer(request)
        self._records.append(
            RequestRecord(
                at,
                request.method,
                request.path,
                status,
                None if token is None else fingerprint(token),
                "Authorization" in request.headers,
            )
        )

    def records(self) -> list[RequestRecord]:
        """A copy that no later request changes."""
        return list(self._records)


def bearer(request: web.Request) -> str | None:
    """The token in ``Authorization: Bearer <token>``, or None."""
    header = request.headers.get("Authorization")
    return header[len(_BEARER) :] if header is not None and header.startswith(_BEARER) else None
