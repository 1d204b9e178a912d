"""Report a session to the OpenTelemetry SDK, in memory."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from truecaller_vbc import APIError, APIPolicy, MemoryStore, TokenError, UnknownOutcomeError, VBCSession
from truecaller_vbc.sandbox import Sandbox

from ..api.sandbox_session import record

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from truecaller_vbc.telemetry import instrument

NUMBER: Final = "+919876543210"
SLOW: Final = APIPolicy(realtime_rate=1, realtime_window=60)


class Collected:
    """Everything that the SDK was told."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._spans = InMemorySpanExporter()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))

    def all(self) -> list[Any]:
        """Return the metrics as the SDK has them."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in (data.resource_metrics if data else ()) for scope in resource.scope_metrics]
        return [metric for scope in scopes for metric in scope.metrics]

    def points(self, name: str) -> list[Any]:
        """Return the data points of one metric."""
        return [point for metric in self.all() if metric.name == name for point in metric.data.data_points]

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Return the value (of a histogram: the count) of each metric by its name and its own attributes."""
        found: dict[tuple[str, ...], float] = {}
        for metric in self.all():
            for point in metric.data.data_points:
                attributes: dict[str, Any] = dict(point.attributes or {})
                own = [str(attributes[name]) for name in ("vbc.call", "vbc.outcome") if name in attributes]
                value = getattr(point, "count", None)
                found[metric.name, *own] = point.value if value is None else value
        return found

    def spans(self) -> list[Any]:
        """Return the spans that have ended."""
        return list(self._spans.get_finished_spans())

    def text(self) -> str:
        """Return all of it as text."""
        data = self._reader.get_metrics_data()
        return "".join(span.to_json() for span in self.spans()) + (data.to_json() if data else "")


async def test_metrics_and_spans() -> None:
    """Mints, calls, waits, doubts and the state of the token are reported, and no secret, number or account ID."""
    collected = Collected()
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc,
    ):
        with instrument(vbc, meter_provider=collected.meters, tracer_provider=collected.tracers):
            with collected.tracers.get_tracer("app").start_as_current_span("handler"):
                await vbc.calls.push(record(receiver_number=NUMBER))
            sandbox.fail_next("calls", status=400)
            with pytest.raises(APIError):
                await vbc.calls.push(record())
            sandbox.fail_next("batch", drop="after")
            with pytest.raises(UnknownOutcomeError):
                await vbc.calls.push_batch([record()])
            seen = collected.metrics()
            token = await vbc.token()
        assert "vbc.mints.left" not in {name for name, *_ in Collected().metrics()}
        await vbc.labels.list()

    assert seen["vbc.mints", "minted"] == 1
    assert seen["vbc.mints.left",] == 9
    assert 3500 < seen["vbc.token.remaining",] <= 3600
    assert (seen["vbc.token.ready",], seen["vbc.store.up",], seen["vbc.calls.waiting",]) == (1, 1, 0)
    assert seen["vbc.call.duration", "calls.push", "ok"] == 1
    assert seen["vbc.call.duration", "calls.push", "refused"] == 1
    assert seen["vbc.call.duration", "calls.push_batch", "unknown"] == 1
    assert seen["vbc.calls.in_doubt", "calls.push_batch"] == 1
    assert seen["vbc.pace.wait", "calls.push"] == 2

    mint, call, handler, refused, unknown = collected.spans()
    assert [span.name for span in (mint, call, handler)] == ["vbc mint", "vbc calls.push", "handler"]
    assert mint.parent is None
    assert call.parent.span_id == handler.context.span_id
    assert [link.context.span_id for link in call.links] == [mint.context.span_id]
    assert (refused.status.description, list(refused.links)) == ("BadRequestError", [])
    assert unknown.status.description == "UnknownOutcomeError"
    assert unknown.start_time <= unknown.end_time

    secrets = (sandbox.credentials.api_key, token.value, sandbox.credentials.client_account_id, NUMBER[1:])
    text = collected.text()
    assert [secret for secret in secrets if str(secret) in text] == []


async def test_failures() -> None:
    """Failed mints and failed refreshes count by the class of their error, and the session is not ready."""
    collected = Collected()
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc,
    ):
        sandbox.fail_next("token", status=401)
        with instrument(vbc, meter_provider=collected.meters, tracer_provider=collected.tracers):
            with pytest.raises(TokenError):
                await vbc.token()
            seen = collected.metrics()

    assert seen["vbc.mints", "CredentialsRejectedError"] == 1
    assert (seen["vbc.token.ready",], ("vbc.token.remaining",) in seen) == (0, False)
    assert [span.status.description for span in collected.spans()] == ["CredentialsRejectedError"]


async def test_nothing_is_reported_after_the_block() -> None:
    """After the block the session reports nothing, and its gauges are gone."""
    collected = Collected()
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc,
    ):
        with instrument(vbc, meter_provider=collected.meters, tracer_provider=collected.tracers):
            pass
        await vbc.labels.list()

        assert (collected.metrics(), collected.spans(), vbc.on_call) == ({}, [], None)


async def test_two_sessions_with_one_provider() -> None:
    """Each session has gauges of its own, until its block ends; times have bounds below and above a second."""
    collected = Collected()
    async with (
        Sandbox() as sandbox,
        Sandbox() as other,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc,
        VBCSession(other.credentials, base_url=other.base_url) as second,
    ):
        with instrument(vbc, meter_provider=collected.meters):
            with instrument(second, meter_provider=collected.meters):
                await vbc.labels.list()
                await second.token()
                both = collected.points("vbc.mints.left")
            one = collected.points("vbc.mints.left")
        bounds = collected.points("vbc.call.duration")[0].explicit_bounds

    accounts = [vbc.status().account, second.status().account]
    assert sorted(point.attributes["vbc.account"] for point in both) == sorted(accounts)
    assert [point.attributes["vbc.account"] for point in one] == accounts[:1]
    assert bounds[0] < 0.01
    assert bounds[-1] > 1


async def test_two_sessions_of_one_account() -> None:
    """Sessions of one account and key are one series: the sum of the calls that wait, the lowest of other values."""
    collected = Collected()
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=MemoryStore(), api_policy=SLOW) as vbc,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=MemoryStore(), api_policy=SLOW) as other,
    ):
        with (
            instrument(vbc, meter_provider=collected.meters),
            instrument(other, meter_provider=collected.meters),
        ):
            await vbc.calls.push(record())
            idle = collected.metrics()
            await other.calls.push(record())
            waiting = [asyncio.create_task(session.calls.push(record())) for session in (vbc, other)]
            while vbc.status().calls_waiting + other.status().calls_waiting < len(waiting):
                await asyncio.sleep(0)
            busy = collected.metrics()
            points = collected.points("vbc.calls.waiting")
            for task in waiting:
                task.cancel()

    assert idle["vbc.mints.left",] == 9  # 10 for the other session
    assert (busy["vbc.calls.waiting",], busy["vbc.mints.left",], busy["vbc.token.ready",]) == (2, 9, 1)
    assert len(points) == 1


async def test_beside_the_instrumentation_of_aiohttp() -> None:
    """Beside the instrumentation of aiohttp, no metric or span of a request is counted twice."""
    instrumentation = pytest.importorskip("opentelemetry.instrumentation.aiohttp_client")
    collected = Collected()
    instrumentor = instrumentation.AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=collected.tracers, meter_provider=collected.meters)
    try:
        async with (
            Sandbox() as sandbox,
            VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc,
        ):
            with instrument(vbc, meter_provider=collected.meters, tracer_provider=collected.tracers):
                await vbc.calls.push(record())
    finally:
        instrumentor.uninstrument()

    names = [span.name for span in collected.spans()]
    assert sorted(names) == ["POST", "POST", "vbc calls.push", "vbc mint"]
