"""The sandbox as its users see it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self, Unpack

from aiohttp import web

from truecaller_vbc.credentials import Credentials

from .clock import SandboxClock
from .endpoints import Api, TokenEndpoint, routes
from .faults import Endpoint, Fault, FaultOptions, FaultPlan
from .gate import Gate, remove_date
from .listener import Listener, new_application
from .records import RequestLog, RequestRecord
from .rules import SandboxRules
from .tokens import TokenBook


class Sandbox:
    """A local server that keeps the documented rules (API reference, sections 1, 2, 3 and 9).

    Use it once, as an async context manager. It has the token endpoint, ``labels``, the real-time v2
    ``dynamic_call_record``, and for tests ``/clients/{id}/echo``, which answers what it was sent.

    Args:
        rules: what it enforces; the documented numbers by default.
        credentials: the one account and key that it accepts; fresh UUIDs by default.
        host: the address to listen on; loopback by default.
        port: the port; 0, the default, takes a free one.
        clock: seconds from any origin, for lifetimes, windows, ``Date`` and ``created_at``; by default the
            running loop's ``time``. Latency and delays always pass on the loop's own clock.

    Attributes:
        credentials: what a client has to send.
    """

    def __init__(
        self,
        rules: SandboxRules | None = None,
        *,
        credentials: Credentials | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.credentials = credentials or _fresh_credentials()
        self._state = "new"
        rules = rules or SandboxRules()
        self._book = TokenBook(rules)
        self._clock = SandboxClock(clock)
        self._faults = FaultPlan()
        self._log = RequestLog()
        self._gate = Gate(rules, self._faults, self._log, self._clock)
        self._listener = Listener(self._application(rules), host, port)

    def __repr__(self) -> str:
        where = f" at {self._listener.url}" if self._state == "open" else ""
        return f"<Sandbox {self._state}{where}, mints={self.mints}>"

    async def __aenter__(self) -> Self:
        """Open the port.

        Raises:
            RuntimeError: this sandbox was entered before; make a new one.
            OSError: the port is taken; entering may be tried again.
        """
        if self._state != "new":
            raise RuntimeError(f"this Sandbox is {self._state} already; make a new one for another server")
        self._clock.start()
        await self._listener.start()
        self._state = "open"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort every connection, cancel every request that is under way, and give up the port."""
        self._state = "closed"
        await self._listener.pause()
        await self._gate.stop()
        await self._listener.close()

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT``; it stays readable after the end.

        Raises:
            RuntimeError: not entered yet, so there is no port.
        """
        if self._state == "new":
            raise RuntimeError("a Sandbox has an address once it is entered: async with Sandbox() as sandbox")
        return self._listener.url

    @property
    def mints(self) -> int:
        """How many tokens were made."""
        return self._book.mints

    @property
    def token_requests(self) -> int:
        """How many POSTs reached the token endpoint, whatever they got, faults included."""
        return self._log.token_requests

    @property
    def log(self) -> list[RequestRecord]:
        """The last 100,000 requests, in the order in which they ended; nothing secret is in it."""
        return self._log.records()

    def revoke_all(self) -> None:
        """End every token at once, as when a key is regenerated."""
        self._book.revoke_all()

    def fail_next(self, endpoint: Endpoint, *, times: int = 1, **fault: Unpack[FaultOptions]) -> None:
        """Let the next `times` requests of `endpoint` meet a `Fault`, after those queued before.

        Args:
            endpoint: ``"token"``, ``"api"`` (every other endpoint) or ``"*"`` (both).
            times: how many requests, 1 by default.
            fault: see `Fault`.

        Raises:
            ValueError: a value is out of range, or the values together make no sense.
        """
        self._faults.queue(endpoint, Fault(**fault), times)

    def faults_left(self, endpoint: Endpoint) -> int:
        """How many faults are still queued under exactly this name."""
        return self._faults.left(endpoint)

    def clear_faults(self) -> None:
        """Forget every queued fault. An outage stays until `end_outage`."""
        self._faults.clear()

    def set_outage(self, endpoint: Endpoint, **fault: Unpack[FaultOptions]) -> None:
        """Let every request of `endpoint` meet a `Fault` until `end_outage`; queued faults go first.

        Raises:
            ValueError: as `fail_next`.
        """
        self._faults.set_outage(endpoint, Fault(**fault))

    def end_outage(self, endpoint: Endpoint) -> None:
        """End the outage that was set under this name; nothing happens if there is none."""
        self._faults.end_outage(endpoint)

    async def drop_connections(self) -> None:
        """Abort every open connection, also in mid-request, and let go of requests that hang.

        What a request was doing goes on (a token may still be made), only its answer is lost.

        Raises:
            RuntimeError: the sandbox is not open.
        """
        self._must_be_open()
        await self._listener.abort_all()
        self._gate.release()

    async def pause_listening(self) -> None:
        """Refuse connections until `resume_listening`, and drop the open ones.

        Raises:
            RuntimeError: the sandbox is not open.
        """
        self._must_be_open()
        await self._listener.pause()
        self._gate.release()

    async def resume_listening(self) -> None:
        """Accept connections again on the same port.

        Raises:
            RuntimeError: the sandbox is not open.
            OSError: somebody else took the port meanwhile.
        """
        self._must_be_open()
        await self._listener.resume()

    def _application(self, rules: SandboxRules) -> web.Application:
        app = new_application()
        token = TokenEndpoint(rules, self._book, self.credentials, self._clock)
        api = Api(rules, self._book, self.credentials.client_account_id, self._clock)
        for endpoint, method, path, handler in routes(token, api):
            app.router.add_route(method, path, self._gate.guard(endpoint, handler))
        if not rules.date_header:
            app.on_response_prepare.append(remove_date)
        return app

    def _must_be_open(self) -> None:
        if self._state != "open":
            raise RuntimeError(f"this Sandbox is {self._state}, not open")


def _fresh_credentials() -> Credentials:
    return Credentials(*(str(uuid.uuid4()) for _ in range(3)))
