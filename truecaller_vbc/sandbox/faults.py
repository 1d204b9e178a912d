"""Plan failures with a queue of faults for each endpoint, and lasting outages."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

import attrs
from aiohttp import web
from typing_extensions import TypedDict

from .responses import refusal
from .rules import one_of, seconds, whole

Endpoint: TypeAlias = Literal[
    "token", "calls", "batch", "status", "labels", "feature_sets", "publish", "delist", "numbers", "api", "*"
]
"""An endpoint by name (``"calls"``: real-time records; ``"batch"`` and ``"status"``: sending batches and asking for
them), ``"api"`` for all but ``"token"``, or ``"*"`` for all.
"""

Drop: TypeAlias = Literal["before", "mid", "after"]
"""When to abort the connection: before the request is handled, in the middle of the answer, or after handling and
before the answer.
"""

Body: TypeAlias = str | bytes | dict[str, Any] | list[Any]

_FIRST_ERROR = 400


class FaultOptions(TypedDict, total=False, closed=True):
    """Name the keyword arguments of a `Fault`."""

    status: int | None
    body: Body | None
    headers: Mapping[str, str] | None
    content_type: str | None
    drop: Drop | None
    delay: float
    slow: float
    mint: bool | None


def _known_body(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str | bytes | dict | list | None):
        raise ValueError(f"{field.name} must be str, bytes, or a dict or list for JSON")  # noqa: TRY004 one error type for all


@attrs.frozen(kw_only=True)
class Fault:
    """Describe one failure of one request.

    With a `status` or a `body` the fault answers instead of the endpoint, which then does nothing (no token is made)
    unless `mint` is true. Without them the endpoint works and its answer is changed.

    Args:
        status: 200..599; without a `body`, an error status gets its E1 envelope and any other an empty body.
        body: str or bytes as given, dict or list as JSON; with status 200 if no status is given.
        headers: added to the answer; they override the endpoint's own.
        content_type: of the answer; by default JSON for dict and list, ``text/plain`` for str.
        drop: ``"before"`` aborts the connection before the request is handled, ``"after"`` when it was handled but no
            byte of the answer was sent, ``"mid"`` when half of the body was sent.
        delay: seconds to wait before the request is handled; ``float("inf")`` waits until the connections are dropped
            or the sandbox ends. The request is handled even if the client leaves meanwhile.
        slow: seconds over which the body is sent, one byte at a time.
        mint: True with a `status` or `body`: the endpoint works (so a token is made), and then its answer is replaced.
            By default it does not work.

    Raises:
        ValueError: a value is out of range, or the values contradict each other.
    """

    status: int | None = attrs.field(default=None, validator=attrs.validators.optional(whole(200, 599)))
    body: Body | None = attrs.field(default=None, repr=False, validator=_known_body)
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    content_type: str | None = None
    drop: Drop | None = attrs.field(default=None, validator=one_of(None, *get_args(Drop)))
    delay: float = attrs.field(default=0.0, validator=seconds(endless=True))
    slow: float = attrs.field(default=0.0, validator=seconds())
    mint: bool | None = attrs.field(default=None, validator=one_of(None, True, False))

    def __attrs_post_init__(self) -> None:
        if not (self.replaces or self.headers or self.content_type or self.drop or self.delay or self.slow):
            raise ValueError("a fault needs a status, body, headers, content_type, drop, delay or slow")
        if self.drop in ("before", "after") and (self.replaces or self.slow):
            raise ValueError(f"drop={self.drop!r} sends nothing, so it takes no status, body or slow")
        if self.mint is not None and self.mint != self.runs_endpoint:
            raise ValueError(f"mint={self.mint} contradicts the rest: see what each drop, status and body does")

    @property
    def replaces(self) -> bool:
        """Tell whether the fault has its own answer."""
        return self.status is not None or self.body is not None

    @property
    def runs_endpoint(self) -> bool:
        """Tell whether the endpoint still does its work."""
        return self.drop != "before" and (bool(self.mint) or not self.replaces)

    def answer(self) -> web.Response:
        """Return the fault's own answer."""
        status = self.status or 200
        if self.body is None:
            return refusal(status) if status >= _FIRST_ERROR else web.Response(status=status)
        body, content_type = _encoded(self.body)
        return web.Response(status=status, body=body, content_type=content_type)

    def add_headers(self, answer: web.Response) -> web.Response:
        """Add the fault's headers to `answer`."""
        if self.content_type is not None:
            answer.headers["Content-Type"] = self.content_type
        answer.headers.update(self.headers or {})
        return answer


class FaultPlan:
    """Keep the planned faults. Queued ones are used in order, before an outage."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Fault]] = {name: deque() for name in get_args(Endpoint)}
        self._outages: dict[str, Fault] = {}

    def queue(self, endpoint: Endpoint, fault: Fault, times: int) -> None:
        """Let the next `times` requests of `endpoint` fail with `fault`, after those queued before."""
        if type(times) is not int or times < 1:
            raise ValueError(f"times must be an int of 1 or more, not {times!r}")
        self._queue_of(endpoint).extend([fault] * times)

    def left(self, endpoint: Endpoint) -> int:
        """Count the faults queued under exactly this name."""
        return len(self._queue_of(endpoint))

    def clear(self) -> None:
        """Remove every queued fault; outages stay."""
        for queue in self._queues.values():
            queue.clear()

    def set_outage(self, endpoint: Endpoint, fault: Fault) -> None:
        """Let every request of `endpoint` fail with `fault` from now on."""
        self._queue_of(endpoint)
        self._outages[endpoint] = fault

    def end_outage(self, endpoint: Endpoint) -> None:
        """End the outage set under this name, if any."""
        self._queue_of(endpoint)
        self._outages.pop(endpoint, None)

    def take(self, endpoint: Endpoint) -> Fault | None:
        """Return the fault for a request of `endpoint`, if any (own name, then ``"api"``, then ``"*"``)."""
        names = ("token", "*") if endpoint == "token" else (endpoint, "api", "*")
        for name in names:
            if queue := self._queues[name]:
                return queue.popleft()
        return next((self._outages[name] for name in names if name in self._outages), None)

    def _queue_of(self, endpoint: str) -> deque[Fault]:
        if endpoint not in self._queues:
            raise ValueError(f"endpoint must be one of {', '.join(map(repr, self._queues))}, not {endpoint!r}")
        return self._queues[endpoint]


def _encoded(body: Body) -> tuple[bytes, str]:
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "text/plain"
    return json.dumps(body).encode(), "application/json"
