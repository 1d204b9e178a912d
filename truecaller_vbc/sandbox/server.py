"""Define `Sandbox`, the server as its users see it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, Unpack

from aiohttp import web

from truecaller_vbc.credentials import Credentials

from .clock import SandboxClock, iso
from .faults import Endpoint, Fault, FaultOptions, FaultPlan
from .listener import Listener, new_application
from .middlewares import AuthMiddleware, FaultMiddleware, remove_date
from .records import RequestLog, RequestRecord
from .routes import Account, routes
from .rules import SandboxRules
from .tokens import TokenIssuer, TokenRoute
from .webhooks import WebhookDelivery, WebhookRules, send_webhooks, webhook_event


class Sandbox:
    """Run a local server that keeps the documented rules (API reference, sections 1, 2, 3, 4 and 9).

    Use it once, as an async context manager. It has the token endpoint, real-time calls (v2), batches and their status
    (v2 and v3), labels, feature sets and numbers, but not the deprecated v1. For tests, ``/clients/{id}/echo`` answers
    with what was sent. The dynamic label ``c6d86658-008d-4c08-98fb-2bf2649d59a5`` and the feature set
    ``069d2e3a-41e6-41f9-a768-157d7e3bd6b9`` always exist.

    The last five digits of a receiver decide the outcome of a valid record: 00001 "Not a Truecaller user", 00002 "OS
    not supported", 00003 "App version not supported", 00004 "Failed to push", 00005 "Invalid input"; any other number
    succeeds. `set_outcome` overrides this.

    Record windows are checked against the clock of the sandbox: the wall time at its start, plus what `clock` has
    counted since. So scaled and virtual clocks work, but records must be made with the same clock.

    Args:
        rules: rules to enforce; the documented numbers by default.
        credentials: the one account and key that are accepted; fresh UUIDs by default.
        host: the address to listen on; loopback by default.
        port: port to use; 0, the default, takes a free one.
        clock: seconds from any origin, for lifetimes, windows, ``Date``, ``created_at``, and how long batches and
            listings take; by default the running loop's ``time``. Latency and delays always pass on the loop's
            own clock.

    Attributes:
        credentials: what a client must send.
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
        self.credentials: Credentials = credentials or _fresh_credentials()
        self._state = "new"
        rules = rules or SandboxRules()
        self._tokens = TokenIssuer(rules)
        self._clock = SandboxClock(clock)
        self._account = Account(rules.api, self.credentials.client_account_id)
        self._faults = FaultPlan()
        self._log = RequestLog()
        self._faulting = FaultMiddleware(rules, self._faults, self._log, self._clock)
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
        """Abort every connection, cancel every running request, and close the port."""
        self._state = "closed"
        await self._listener.pause()
        await self._faulting.stop()
        await self._listener.close()

    @property
    def base_url(self) -> str:
        """Return ``http://127.0.0.1:PORT``; readable after the end as well.

        Raises:
            RuntimeError: not entered yet, so the port is unknown.
        """
        if self._state == "new":
            raise RuntimeError("a Sandbox has an address once it is entered: async with Sandbox() as sandbox")
        return self._listener.url

    @property
    def mints(self) -> int:
        """Count the tokens that were made."""
        return self._tokens.mints

    @property
    def token_requests(self) -> int:
        """Count the POSTs that reached the token endpoint, faults included."""
        return self._log.token_requests

    @property
    def log(self) -> list[RequestRecord]:
        """Return the last 100,000 requests, in the order in which they ended, without secrets."""
        return self._log.records()

    @property
    def accepted(self) -> Counter[int]:
        """Count the valid records for each receiver, real-time or batch, whatever their outcome.

        The key is the number's digits as an int. This is the sandbox's own counter, not a copy.
        """
        return self._account.accepted

    @property
    def batches(self) -> dict[str, int]:
        """Return the size of each accepted batch by its ``batch_id``, oldest first."""
        return self._account.batches.sizes

    @property
    def listed(self) -> set[str]:
        """Return the digits of the listed numbers, including those being delisted.

        Raises:
            RuntimeError: not entered yet.
        """
        if self._state == "new":
            raise RuntimeError("a Sandbox lists numbers once it is entered: async with Sandbox() as sandbox")
        return {known.digits for known in self._account.numbers.listed(self._clock.elapsed())}

    def add_label(self, name: str = "Label", *, label_id: str | None = None, label_type: str = "dynamic") -> str:
        """Add a label as the console would, replacing one with the same ID. Return its ID (a new one by default).

        Records may name only a ``"dynamic"`` label.
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
        """Let records for the receiver `number` fail with `message` from now on, or succeed if it is None.

        This goes before the number's last digits. A batch is judged whenever its status is asked for.

        Raises:
            ValueError: `number` is not digits with the country code, with or without a plus.
        """
        self._account.outcomes.choose(number, message)

    def revoke_all(self) -> None:
        """End every token at once, as when a key is regenerated."""
        self._tokens.revoke_all()

    def fail_next(self, endpoint: Endpoint, *, times: int = 1, **fault: Unpack[FaultOptions]) -> None:
        """Let the next `times` requests of `endpoint` fail with a `Fault`, after those queued before.

        Args:
            endpoint: ``"token"``, ``"calls"``, ``"batch"``, ``"status"``, ``"labels"``, ``"feature_sets"``,
                ``"publish"``, ``"delist"``, ``"numbers"``, ``"api"`` (all but ``"token"``) or ``"*"`` (all). Faults
                queued under an endpoint's own name are used before ``"api"``, and those before ``"*"``.
            times: how many requests, 1 by default.
            fault: see `Fault`.

        Raises:
            ValueError: a value is out of range, or the values contradict each other.
        """
        self._faults.queue(endpoint, Fault(**fault), times)

    def faults_left(self, endpoint: Endpoint) -> int:
        """Count the faults queued under exactly this name."""
        return self._faults.left(endpoint)

    def clear_faults(self) -> None:
        """Remove every queued fault. An outage stays until `end_outage`."""
        self._faults.clear()

    def set_outage(self, endpoint: Endpoint, **fault: Unpack[FaultOptions]) -> None:
        """Let every request of `endpoint` fail with a `Fault` until `end_outage`; queued faults go first.

        Raises:
            ValueError: as `fail_next`.
        """
        self._faults.set_outage(endpoint, Fault(**fault))

    def end_outage(self, endpoint: Endpoint) -> None:
        """End the outage set under this name, if any."""
        self._faults.end_outage(endpoint)

    async def send_webhook(
        self, url: str, event: str | bytes | dict[str, Any] = "cmb", rules: WebhookRules | None = None
    ) -> WebhookDelivery:
        """Send a webhook until it is delivered or has failed for good; retries pass on the sandbox's clock.

        Args:
            url: of the receiver, with its key.
            event: ``"cmb"``, ``"user_feedback"`` or another type for a new event; or a whole event (see
                `webhook_event`), or the bytes of a body.
            rules: schedule, duplicates, slowness: see `WebhookRules`.

        Raises:
            RuntimeError: the sandbox is not open.
        """
        self._must_be_open()
        whole = webhook_event(event) if isinstance(event, str) else event
        return (await send_webhooks(url, [whole], rules, self._clock.tick))[0]

    async def drop_connections(self) -> None:
        """Abort every open connection, and release requests that hang.

        The work of a running request goes on (a token may still be made); only its answer is lost.

        Raises:
            RuntimeError: the sandbox is not open.
        """
        self._must_be_open()
        await self._listener.abort_all()
        self._faulting.release()

    async def pause_listening(self) -> None:
        """Refuse connections until `resume_listening`, and drop the open ones.

        Raises:
            RuntimeError: the sandbox is not open.
        """
        self._must_be_open()
        await self._listener.pause()
        self._faulting.release()

    async def resume_listening(self) -> None:
        """Accept connections again on the same port.

        Raises:
            RuntimeError: the sandbox is not open.
            OSError: another program took the port meanwhile.
        """
        self._must_be_open()
        await self._listener.resume()

    def _application(self, rules: SandboxRules) -> web.Application:
        app = new_application()
        token = TokenRoute(rules, self._tokens, self.credentials, self._clock)
        auth = AuthMiddleware(rules, self._tokens, self.credentials.client_account_id, self._clock)
        for endpoint, method, path, handler in routes(token, auth, rules.api, self._account, self._clock):
            app.router.add_route(method, path, self._faulting.wrap(endpoint, handler))
        if not rules.date_header:
            app.on_response_prepare.append(remove_date)
        return app

    def _must_be_open(self) -> None:
        if self._state != "open":
            raise RuntimeError(f"this Sandbox is {self._state}, not open")


def _fresh_credentials() -> Credentials:
    return Credentials(*(str(uuid.uuid4()) for _ in range(3)))
