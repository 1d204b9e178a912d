"""Run two accounts with trouble, let Prometheus record them, and draw the panels of docs/grafana.json from its answers.

    python benchmarks/board.py [SECONDS]        # writes docs/grafana.png

It needs the program ``prometheus`` and the packages opentelemetry-exporter-prometheus and matplotlib. Each panel shows
what Prometheus answers to the panel's own expression, so a name that does not exist in the run is an empty panel, and
ends the script with an error.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import matplotlib as mpl
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

from truecaller_vbc import APIPolicy, CallRecord, MemoryStore, StoreError, TokenPolicy, VBCError, VBCSession
from truecaller_vbc.sandbox import Sandbox, SandboxRules
from truecaller_vbc.telemetry import instrument

BOARD: Final = Path(__file__).parents[1] / "docs" / "grafana.json"
LABEL: Final = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
LIFETIME: Final = 120.0
WINDOW: Final = 300.0
STEP: Final = 2
METRICS_PORT: Final = 9464
PORT: Final = 9490
CONFIG: Final = f"""
global: {{scrape_interval: {STEP}s}}
scrape_configs: [{{job_name: board, static_configs: [{{targets: ["127.0.0.1:{METRICS_PORT}"]}}]}}]
"""


class ShakyStore(MemoryStore):
    """A store that can be switched off."""

    down = False

    async def read(self, key: str) -> str | None:
        if self.down:
            raise StoreError("switched off")
        return await super().read(key)


@contextmanager
def prometheus() -> Iterator[str]:
    """Start Prometheus, and yield the URL of its range queries."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "prometheus.yml")
        config.write_text(CONFIG)
        options = (f"--config.file={config}", f"--storage.tsdb.path={folder}/data")
        listen = f"--web.listen-address=127.0.0.1:{PORT}"
        process = subprocess.Popen(["prometheus", *options, listen, "--log.level=error"])  # noqa: S603, S607
        try:
            yield f"http://127.0.0.1:{PORT}/api/v1/query_range"
        finally:
            process.terminate()
            process.wait()


def record() -> CallRecord:
    """Return a record that the sandbox accepts."""
    now = datetime.now(UTC)
    return CallRecord(
        caller_number="+911234567890",
        receiver_number=f"+9198{random.randrange(10**8):08}",
        starts_at=now,
        ends_at=now + timedelta(hours=1),
        label_id=LABEL,
        dynamic_call_reason="Calling you for KYC",
    )


async def push(vbc: VBCSession) -> None:
    """Push a record; the metrics tell what became of it."""
    with suppress(VBCError):
        await vbc.calls.push(record())


async def use(vbc: VBCSession, rate: float) -> None:
    """Push `rate` records a second, and a batch now and then."""
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(push(vbc))
            if random.random() < 0.2 / rate:
                with suppress(VBCError):
                    await vbc.calls.push_batch([record() for _ in range(50)])
            await asyncio.sleep(random.expovariate(rate))


async def trouble(sandbox: Sandbox, store: ShakyStore, vbc: VBCSession, seconds: float) -> None:
    """Let things go wrong one after another: slow answers, lost answers, a burst, the token endpoint, the store."""
    pause = seconds / 8
    await asyncio.sleep(pause)
    sandbox.fail_next("calls", times=40, delay=0.3)
    await asyncio.sleep(pause)
    sandbox.fail_next("batch", times=2, drop="after")  # a real-time record may be sent again, a batch may not
    sandbox.fail_next("calls", times=20, status=400)
    await asyncio.sleep(pause)
    await asyncio.gather(*(push(vbc) for _ in range(600)))
    sandbox.set_outage("token", status=503)
    await asyncio.sleep(2 * pause)
    sandbox.end_outage("token")
    store.down = True
    await asyncio.sleep(2 * pause)
    store.down = False


async def run(seconds: float) -> None:
    """Use two accounts for so long; only the first has trouble."""
    meters = MeterProvider([PrometheusMetricReader()])
    rules = SandboxRules(token_lifetime=LIFETIME, mint_window=WINDOW)
    policy = TokenPolicy(lifetime=LIFETIME, refresh_ahead=60, refresh_jitter=10, mint_window=WINDOW, refresh_retry=10)
    store = ShakyStore()
    async with AsyncExitStack() as stack:
        sandboxes = [await stack.enter_async_context(Sandbox(rules)) for _ in range(2)]
        sessions = []
        for sandbox in sandboxes:
            vbc = VBCSession(
                sandbox.credentials,
                base_url=sandbox.base_url,
                store=store,
                policy=policy,
                api_policy=APIPolicy(realtime_rate=50),
            )
            sessions.append(await stack.enter_async_context(vbc))
            stack.enter_context(instrument(vbc, meter_provider=meters))
        users = [asyncio.create_task(use(vbc, rate)) for vbc, rate in zip(sessions, (8, 3), strict=True)]
        started = asyncio.get_running_loop().time()
        await trouble(sandboxes[0], store, sessions[0], seconds)
        await asyncio.sleep(started + seconds - asyncio.get_running_loop().time())
        for user in users:
            user.cancel()
        await asyncio.wait(users)
        await asyncio.sleep(2 * STEP)  # the last scrape


async def answers(url: str, board: dict[str, Any], start: float) -> list[list[Any]]:
    """Return the series of each panel. End the script if a panel has none."""
    found = []
    async with aiohttp.ClientSession() as http:
        for panel in board["panels"]:
            expr = panel["targets"][0]["expr"].replace("$account", ".*")
            query = {"query": expr, "start": str(start), "end": str(time.time()), "step": str(STEP)}
            async with http.get(url, params=query) as response:
                series = (await response.json())["data"]["result"]
            if not series:
                sys.exit(f"the panel {panel['title']!r} is empty: {expr}")
            found.append(series)
    return found


def draw(board: dict[str, Any], found: list[list[Any]]) -> None:
    """Draw the panels at their places on the board."""
    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of the backend

    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) // 8
    figure, axes = plt.subplots(rows, 3, figsize=(15, 3 * rows), layout="constrained")
    for axis in axes.flat:
        axis.set_visible(False)
    for panel, series in zip(board["panels"], found, strict=True):
        place, unit = panel["gridPos"], panel["fieldConfig"]["defaults"]["unit"]
        axis = axes[place["y"] // 8][place["x"] // 8]
        axis.set_visible(True)
        axis.set_title(panel["title"] if unit == "short" else f"{panel['title']} ({unit})", fontsize=10, loc="left")
        for one in series:
            points = [(float(at) - float(found[0][0]["values"][0][0]), float(value)) for at, value in one["values"]]
            axis.plot(*zip(*points, strict=True), label=" ".join(one["metric"].values()), linewidth=1.2)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7)
        axis.tick_params(labelsize=7)
    figure.supxlabel("seconds", fontsize=8)
    figure.savefig(BOARD.with_suffix(".png"), dpi=80)


async def main(seconds: float) -> None:
    """Run, ask Prometheus, and draw."""
    board = json.loads(BOARD.read_text())
    start_http_server(METRICS_PORT, "127.0.0.1")
    with prometheus() as url:
        start = time.time()
        await run(seconds)
        found = await answers(url, board, start)
    draw(board, found)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if sys.argv[1:] else 480.0))
