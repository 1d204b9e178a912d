"""Report a session to OpenTelemetry: metrics and spans of mints and typed calls (extra ``otel``, the API only).

No attribute has a secret, a phone number or an account's ID. The spans and metrics of HTTP requests are left to
``opentelemetry-instrumentation-aiohttp-client``, so nothing counts twice.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

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

_SCOPE: Final = "truecaller_vbc"
# The default of the SDKs begins with 5, as if it were milliseconds.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


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
    instruments = _instruments(meter_provider)
    reporter = _Reporter(vbc, instruments, trace.get_tracer(_SCOPE, tracer_provider=tracer_provider))
    instruments.reporters.add(reporter)
    unsubscribe = vbc.subscribe(reporter)
    try:
        yield
    finally:
        unsubscribe()
        instruments.reporters.remove(reporter)


class _Instruments:
    """The metrics of all sessions that report to one provider: it ignores a second gauge of the same name."""

    def __init__(self, meters: MeterProvider | None) -> None:
        meter = metrics.get_meter(_SCOPE, meter_provider=meters)
        self.reporters: set[_Reporter] = set()
        self.mints = meter.create_counter("vbc.mints", "", "Token requests and adoptions by outcome")
        self.refreshes = meter.create_counter("vbc.refresh.failures", "", "Refreshes that failed")
        self.in_doubt = meter.create_counter("vbc.calls.in_doubt", "", "Calls whose answer was lost")
        self.calls = meter.create_histogram(
            "vbc.call.duration",
            "s",
            "Duration of typed calls with waits and retries",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.waits = meter.create_histogram(
            "vbc.pace.wait",
            "s",
            "Wait of typed calls for their turn under the rates",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

        def gauge(
            name: str,
            unit: str,
            what: str,
            value: Callable[[_Reporter, TokenStatus], float | None],
            merge: Callable[[list[float]], float] = min,
        ) -> None:
            meter.create_observable_gauge(name, [functools.partial(self._observe, value, merge)], unit, what)

        gauge("vbc.mints.left", "", "Mints that may still be made", lambda _, status: status.mints_left)
        gauge("vbc.token.remaining", "s", "Time until the token expires", lambda _, status: _remaining(status))
        gauge("vbc.token.ready", "", "1 if a call would get a token, else 0", lambda _, status: float(status.ready))
        gauge(
            "vbc.store.up", "", "1 if the shared store works, else 0", lambda reporter, _: float(reporter.store_is_up)
        )
        gauge(
            "vbc.calls.waiting", "", "Typed calls that wait for their turn", lambda _, status: status.calls_waiting, sum
        )

    def _observe(
        self,
        value: Callable[[_Reporter, TokenStatus], float | None],
        merge: Callable[[list[float]], float],
        _: CallbackOptions,
    ) -> Iterable[Observation]:
        # Sessions of one account and key are one series: of two observations the SDK would keep either.
        series: dict[tuple[tuple[str, str], ...], list[float]] = {}
        for reporter in tuple(self.reporters):
            status = reporter.vbc.status()
            if (number := value(reporter, status)) is not None:
                series.setdefault(tuple(_about(status).items()), []).append(number)
        for about, numbers in series.items():
            yield Observation(merge(numbers), dict(about))


_instruments = functools.cache(_Instruments)


class _Reporter:
    def __init__(self, vbc: VBCSession, instruments: _Instruments, tracer: trace.Tracer) -> None:
        self.vbc = vbc
        self.store_is_up = True
        self._instruments = instruments
        self._tracer = tracer
        self._last_mint: tuple[SpanContext, float] | None = None

    def __call__(self, event: VBCEvent) -> None:
        about = _about(event)
        match event:
            case CallFinished():
                self._call(event, about)
            case TokenMinted():
                self._instruments.refreshes.add(0, about)
                self._instruments.mints.add(1, {**about, "vbc.outcome": "minted"})
                self._mint_span(event.seconds, None, about)
            case TokenAdopted():
                self._instruments.refreshes.add(0, about)
                self._instruments.mints.add(1, {**about, "vbc.outcome": "adopted"})
            case MintFailed() | RefreshFailed():
                self._instruments.mints.add(1, {**about, "vbc.outcome": type(event.error).__name__})
                self._instruments.refreshes.add(int(isinstance(event, RefreshFailed)), about)
                self._mint_span(event.seconds, event.error, about)
            case StoreUnavailable() | StoreRecovered():
                self.store_is_up = isinstance(event, StoreRecovered)
            case _:
                pass

    def _call(self, event: CallFinished, about: dict[str, str]) -> None:
        about["vbc.call"] = event.call
        self._instruments.waits.record(event.pace_wait, about)
        # Also 0: Prometheus sees the first increase of a counter only if it had a value before.
        self._instruments.in_doubt.add(int(event.outcome == "unknown"), about)
        about = {**about, "vbc.outcome": event.outcome}
        self._instruments.calls.record(event.seconds, about)
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


def _remaining(status: TokenStatus) -> float | None:
    expires_at = status.expires_at
    return None if expires_at is None else max((expires_at - datetime.now(UTC)).total_seconds(), 0.0)


def _about(named: AccountEvent | TokenStatus) -> dict[str, str]:
    """Return the attributes of every metric and span: a short hash of the account's ID, and the key ID."""
    return {"vbc.account": named.account, "vbc.key_id": named.key_id}
