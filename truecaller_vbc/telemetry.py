"""Report a session to OpenTelemetry: metrics and spans of mints and typed calls (extra ``otel``, the API only).

No attribute has a secret, a phone number or an account's ID. The spans and metrics of HTTP requests are left to
``opentelemetry-instrumentation-aiohttp-client``, so nothing counts twice.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Link, SpanContext, StatusCode, TracerProvider

from .account import AccountEvent
from .api.events import CallFinished
from .session import VBCEvent, VBCSession
from .token.events import (
    MintFailed,
    RefreshFailed,
    StoreRecovered,
    StoreUnavailable,
    TokenAdopted,
    TokenMinted,
    TokenStatus,
)

_SCOPE = "truecaller_vbc"


@contextmanager
def instrument(
    vbc: VBCSession, *, meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None
) -> Generator[None]:
    """Report a session until the ``with`` block ends.

    Args:
        vbc: the session, open or not.
        meter_provider: where metrics go; None for the global one.
        tracer_provider: where spans go; None for the global one.
    """
    reporter = _Reporter(vbc, meter_provider, tracer_provider)
    unsubscribe = vbc.subscribe(reporter)
    try:
        yield
    finally:
        unsubscribe()
        reporter.ended = True


class _Reporter:
    def __init__(self, vbc: VBCSession, meters: MeterProvider | None, tracers: TracerProvider | None) -> None:
        self._vbc = vbc
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracers)
        meter = metrics.get_meter(_SCOPE, meter_provider=meters)
        self._mints = meter.create_counter("vbc.mints", description="Token requests and adoptions by outcome")
        self._refreshes = meter.create_counter("vbc.refresh.failures", description="Refreshes that failed")
        self._in_doubt = meter.create_counter("vbc.calls.in_doubt", description="Calls whose answer was lost")
        self._calls = meter.create_histogram("vbc.call.duration", "s", "Duration of typed calls with waits and retries")
        self._waits = meter.create_histogram("vbc.pace.wait", "s", "Wait of typed calls for their turn under the rates")
        meter.create_observable_gauge("vbc.mints.left", [self._mints_left], "", "Mints that may still be made")
        meter.create_observable_gauge("vbc.token.remaining", [self._remaining], "s", "Time until the token expires")
        meter.create_observable_gauge("vbc.token.ready", [self._ready], "", "1 if a call would get a token, else 0")
        meter.create_observable_gauge("vbc.store.up", [self._store], "", "1 if the shared store works, else 0")
        meter.create_observable_gauge("vbc.calls.waiting", [self._waiting], "", "Typed calls that wait for their turn")
        self._store_is_up = True
        self._last_mint: tuple[SpanContext, float] | None = None
        self.ended = False

    def __call__(self, event: VBCEvent) -> None:
        about = _about(event)
        match event:
            case CallFinished():
                self._call(event, about)
            case TokenMinted():
                self._mints.add(1, {**about, "vbc.outcome": "minted"})
                self._mint_span(event.seconds, None, about)
            case TokenAdopted():
                self._mints.add(1, {**about, "vbc.outcome": "adopted"})
            case MintFailed() | RefreshFailed():
                self._mints.add(1, {**about, "vbc.outcome": type(event.error).__name__})
                if isinstance(event, RefreshFailed):
                    self._refreshes.add(1, about)
                self._mint_span(event.seconds, event.error, about)
            case StoreUnavailable() | StoreRecovered():
                self._store_is_up = isinstance(event, StoreRecovered)
            case _:
                pass

    def _call(self, event: CallFinished, about: dict[str, str]) -> None:
        about["vbc.call"] = event.call
        self._waits.record(event.pace_wait, about)
        if event.outcome == "unknown":
            self._in_doubt.add(1, about)
        about = {**about, "vbc.outcome": event.outcome}
        self._calls.record(event.seconds, about)
        end = time.time_ns()
        start = end - int(event.seconds * 1e9)
        # A call that was under way when the mint ended may have waited for it.
        waited = self._last_mint is not None and self._last_mint[1] >= start
        links = [Link(self._last_mint[0])] if self._last_mint and waited else []
        span = self._tracer.start_span(f"vbc {event.call}", attributes=about, links=links, start_time=start)
        span.set_attributes({"vbc.attempts": event.attempts, "vbc.pace_wait": event.pace_wait})
        self._end(span, event.error, end)

    def _mint_span(self, seconds: float, error: BaseException | None, about: dict[str, str]) -> None:
        end = time.time_ns()
        # A root: it belongs to no caller, since any number of them wait for it.
        span = self._tracer.start_span(
            "vbc mint", context.Context(), attributes=about, start_time=end - int(seconds * 1e9)
        )
        self._last_mint = span.get_span_context(), end
        self._end(span, error, end)

    def _end(self, span: trace.Span, error: BaseException | None, end: int) -> None:
        if error is not None:
            # The class only: a message may quote the server.
            span.set_status(StatusCode.ERROR, type(error).__name__)
        span.end(end)

    def _observe(self, value: float | None) -> Iterable[Observation]:
        return [] if value is None or self.ended else [Observation(value, _about(self._vbc.status()))]

    def _mints_left(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._observe(self._vbc.status().mints_left)

    def _remaining(self, _: CallbackOptions) -> Iterable[Observation]:
        expires_at = self._vbc.status().expires_at
        left = None if expires_at is None else (expires_at - datetime.now(UTC)).total_seconds()
        return self._observe(left and max(left, 0.0))

    def _ready(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._observe(float(self._vbc.status().ready))

    def _store(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._observe(float(self._store_is_up))

    def _waiting(self, _: CallbackOptions) -> Iterable[Observation]:
        return self._observe(self._vbc.status().calls_waiting)


def _about(named: AccountEvent | TokenStatus) -> dict[str, str]:
    """Return the attributes of every metric and span: a short hash of the account's ID, and the key ID."""
    return {"vbc.account": named.account, "vbc.key_id": named.key_id}
