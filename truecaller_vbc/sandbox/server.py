"""The sandbox as its users see it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, Unpack

from aiohttp import web

from truecaller_vbc.credentials import Credentials

from .clock import SandboxClock, iso
from .faults import Endpoint, Fault, FaultOptions, FaultPlan
from .listener import Listener, new_application
from .middlewares import Door, Gate, remove_date
from .records import RequestLog, RequestRecord
from .routes import Account, routes
from .rules import SandboxRules
from .tokens import TokenBook, TokenEndpoint


class Sandbox:
    """A local server that keeps the documented rules (API reference, sections 1, 2, 3, 4 and 9).

    Use it once, as an async context manager. It has the token endpoint, real-time calls (v2), batches and their status
    (v2 and v3), labels, feature sets, and numbers; none of the deprecated v1; and for tests ``/clients/{id}/echo``,
    which answers what it was sent. There is always the dynamic label ``c6d86658-008d-4c08-98fb-2bf2649d59a5`` and the
    feature set ``069d2e3a-41e6-41f9-a768-157d7e3bd6b9``.

    The last five digits of a receiver decide what becomes of a valid record: 00001 "Not a Truecaller user", 00002 "OS
    not supported", 00003 "App version not supported", 00004 "Failed to push", 00005 "Invalid input"; any other number
    is reached. `set_outcome` says otherwise.

    Whether a record is in the past is judged by the clock of the sandbox: the wall time at its start, and what `clock`
    counted since. So a clock that is scaled or virtual works, and records have to be made with the same one.

    Args:
        rules: what it enforces; the documented numbers by default.
        credentials: the one account and key that it accepts; fresh UUIDs by default.
        host: the address to listen on; loopback by default.
        port: the port; 0, the default, takes a free one.
        clock: seconds from any origin, for lifetimes, windows, ``Date``, ``created_at``, and how long batches and
            listings take; by default the running loop's ``time``. Latency and delays always pass on the loop's
            own clock.

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
        self._account = Account(rules.api, self.credentials.client_account_id)
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

    @property
    def accepted(self) -> Counter[int]:
        """How many valid records came for each receiver, in real time or in a batch, whatever became of them.

        The key is the number's digits as an int. This is the sandbox's own counter, not a copy.
        """
        return self._account.accepted

    @property
    def batches(self) -> dict[str, int]:
        """How many records each accepted batch had, by its ``batch_id``; the oldest first."""
        return self._account.batches.sizes

    @property
    def listed(self) -> set[str]:
        """The digits of the numbers that are listed now, also while they are being delisted.

        Raises:
            RuntimeError: not entered yet.
        """
        if self._state == "new":
            raise RuntimeError("a Sandbox lists numbers once it is entered: async with Sandbox() as sandbox")
        return {known.digits for known in self._account.numbers.listed(self._clock.elapsed())}

    def add_label(self, name: str = "Label", *, label_id: str | None = None, label_type: str = "dynamic") -> str:
        """Add a label as the console would, in place of one with the same ID, and return its ID (by default a new one).

        Only a ``"dynamic"`` one may be named by records.
        """
        return self._account.labels.add(name, label_id, label_type, iso(datetime.now(UTC)))

    def add_feature_set(self, name: str) -> str:
        """Add a feature set as the console would, and return its ID.

        Its department, operation and process are its own.
        """
        feature_set_id = str(uuid.uuid4())
        self._account.feature_sets.add(name, feature_set_id, iso(datetime.now(UTC)))
        return feature_set_id

    def set_outcome(self, number: str, message: str | None) -> None:
        """Let records for the receiver `number` fail with `message` from now on, or succeed if that is None.

        This goes before the number's last digits. A batch is judged whenever its status is asked for.

        Raises:
            ValueError: `number` is not digits with the country code, with or without a plus.
        """
        self._account.outcomes.choose(number, message)

    def revoke_all(self) -> None:
        """End every token at once, as when a key is regenerated."""
        self._book.revoke_all()

    def fail_next(self, endpoint: Endpoint, *, times: int = 1, **fault: Unpack[FaultOptions]) -> None:
        """Let the next `times` requests of `endpoint` meet a `Fault`, after those queued before.

        Args:
            endpoint: ``"token"``, ``"calls"``, ``"batch"``, ``"status"``, ``"labels"``, ``"feature_sets"``,
                ``"publish"``, ``"delist"``, ``"numbers"``, ``"api"`` (every one but ``"token"``) or ``"*"`` (all).
                What is queued under an endpoint's own name goes before ``"api"``, and that before ``"*"``.
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
        door = Door(rules, self._book, self.credentials.client_account_id, self._clock)
        for endpoint, method, path, handler in routes(token, door, rules.api, self._account, self._clock):
            app.router.add_route(method, path, self._gate.guard(endpoint, handler))
        if not rules.date_header:
            app.on_response_prepare.append(remove_date)
        return app

    def _must_be_open(self) -> None:
        if self._state != "open":
            raise RuntimeError(f"this Sandbox is {self._state}, not open")


def _fresh_credentials() -> Credentials:
    return Credentials(*(str(uuid.uuid4()) for _ in range(3)))
