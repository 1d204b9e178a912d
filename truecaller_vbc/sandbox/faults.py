"""What goes wrong next: a queue of faults for each endpoint, and outages that stay."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypedDict, get_args

import attrs
from aiohttp import web

from .responses import refusal
from .rules import one_of, seconds, whole

Endpoint: TypeAlias = Literal[
    "token", "calls", "batch", "status", "labels", "feature_sets", "publish", "delist", "numbers", "api", "*"
]
"""One endpoint by its name (``"calls"``: real-time records; ``"batch"`` and ``"status"``: sending batches and asking
for them), ``"api"`` for every one but ``"token"``, or ``"*"`` for all."""

Drop: TypeAlias = Literal["before", "mid", "after"]
"""When the connection is aborted: before the request is handled, in the middle of the answer, or after the
request was handled and before its answer."""

Body: TypeAlias = str | bytes | dict[str, Any] | list[Any]

_FIRST_ERROR = 400


class FaultOptions(TypedDict, total=False):
    """The keyword arguments of a `Fault`."""

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
    """One thing that goes wrong with one request.

    With a `status` or a `body` the fault answers in place of the endpoint, which then does nothing (no token
    is made) unless `mint` is true. Without them the endpoint does its work and its answer is tampered with.

    Args:
        status: 200..599; without a `body`, an error status gets its E1 envelope and any other an empty body.
        body: str or bytes as they are, dict or list as JSON; with status 200 if none is given.
        headers: added to the answer, whoever makes it; they win.
        content_type: of the answer; by default JSON for dict and list, ``text/plain`` for str.
        drop: ``"before"`` aborts the connection before anything is done, ``"after"`` when everything is done
            but nothing was sent, ``"mid"`` when half of the body was sent.
        delay: seconds to wait before anything is done; ``float("inf")`` hangs until the connections are
            dropped or the sandbox ends. A client that leaves meanwhile does not stop what follows.
        slow: seconds over which the answer's body trickles, one byte at a time.
        mint: True with a `status` or `body`: the endpoint does its work (so a token is made), and then its
            answer is replaced. By default it does no work.

    Raises:
        ValueError: a value is out of range, or the values together make no sense.
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
        if self.mint is not None and self.mint != self.lets_work:
            raise ValueError(f"mint={self.mint} contradicts the rest: see what each drop, status and body does")

    @property
    def replaces(self) -> bool:
        """Whether the fault brings its own answer."""
        return self.status is not None or self.body is not None

    @property
    def lets_work(self) -> bool:
        """Whether the endpoint does its work all the same."""
        return self.drop != "before" and (bool(self.mint) or not self.replaces)

    def answer(self) -> web.Response:
        """The fault's own answer."""
        status = self.status or 200
        if self.body is None:
            return refusal(status) if status >= _FIRST_ERROR else web.Response(status=status)
        body, content_type = _encoded(self.body)
        return web.Response(status=status, body=body, content_type=content_type)

    def dress(self, answer: web.Response) -> web.Response:
        """`answer` with the fault's headers on it."""
        if self.content_type is not None:
            answer.headers["Content-Type"] = self.content_type
        answer.headers.update(self.headers or {})
        return answer


class FaultPlan:
    """The faults to come. Queued ones are used up in order, and go before an outage."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Fault]] = {name: deque() for name in get_args(Endpoint)}
        self._outages: dict[str, Fault] = {}

    def queue(self, endpoint: Endpoint, fault: Fault, times: int) -> None:
        """Let the next `times` requests of `endpoint` meet `fault`, after those queued before."""
        if type(times) is not int or times < 1:
            raise ValueError(f"times must be an int of 1 or more, not {times!r}")
        self._queue_of(endpoint).extend([fault] * times)

    def left(self, endpoint: Endpoint) -> int:
        """How many faults are queued under exactly this name."""
        return len(self._queue_of(endpoint))

    def clear(self) -> None:
        """Forget every queued fault; outages stay."""
        for queue in self._queues.values():
            queue.clear()

    def set_outage(self, endpoint: Endpoint, fault: Fault) -> None:
        """Let every request of `endpoint` meet `fault` from now on."""
        self._queue_of(endpoint)
        self._outages[endpoint] = fault

    def end_outage(self, endpoint: Endpoint) -> None:
        """End the outage set under this name, if there is one."""
        self._queue_of(endpoint)
        self._outages.pop(endpoint, None)

    def take(self, endpoint: Endpoint) -> Fault | None:
        """The fault that a request of `endpoint` meets now, if any: own name, then ``"api"``, then ``"*"``."""
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
