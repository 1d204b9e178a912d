"""Hold docs/grafana.json and the table of docs/observe.md against the metrics of a run with the sandbox."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from truecaller_vbc import UnknownOutcomeError, VBCSession
from truecaller_vbc.sandbox import Sandbox

from ..api.sandbox_session import record

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics.export import Histogram, Sum

from truecaller_vbc.telemetry import instrument

from .test_telemetry import Collected

DOCS: Final = Path(__file__).parents[2] / "docs"
BOARD: Final[dict[str, Any]] = json.loads((DOCS / "grafana.json").read_text())
LABELS: Final = re.compile(r"\bby \(([^)]+)\)|\{([^}]*)\}")


def as_prometheus(metric: Any) -> dict[str, set[str]]:
    """Return the labels of each series that Prometheus makes of a metric, by the series' name."""
    name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
    labels = set.intersection(
        *({key.replace(".", "_") for key in point.attributes} for point in metric.data.data_points)
    )
    match metric.data:
        case Histogram():
            return {f"{name}_bucket": labels | {"le"}, f"{name}_count": labels, f"{name}_sum": labels}
        case Sum():
            return {f"{name}_total": labels}
        case _:
            return {name: labels}


async def a_run() -> list[Any]:
    """Mint, push, lose an answer: return the metrics of it."""
    collected = Collected()
    async with Sandbox() as sandbox, VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc:
        with instrument(vbc, meter_provider=collected.meters):
            await vbc.calls.push(record())
            sandbox.fail_next("batch", drop="after")
            with pytest.raises(UnknownOutcomeError):
                await vbc.calls.push_batch([record()])
            return collected.all()


async def test_board_shows_what_a_run_reports() -> None:
    """Each name and label of a query of the board is in a run, and each metric of a run is on a panel."""
    metrics = {metric.name: as_prometheus(metric) for metric in await a_run()}
    series = {name: labels for names in metrics.values() for name, labels in names.items()}
    queries = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
    shown = set[str]()
    for query in queries:
        used = set(re.findall(r"\bvbc_\w+", LABELS.sub("", query)))
        wanted = set(re.findall(r"\b(?:vbc_\w+|le)\b", " ".join("".join(found) for found in LABELS.findall(query))))
        assert used, query
        for name in used:
            assert wanted <= series.get(name, set()), query
        shown |= used

    assert [metric for metric, names in metrics.items() if not shown & set(names)] == []


async def test_variable_of_the_board_is_a_label() -> None:
    """The list of accounts comes from a metric that a run reports."""
    query = next(one["query"] for one in BOARD["templating"]["list"] if one["name"] == "account")
    name, label = re.findall(r"\w+", query)[1:]
    series = {name: labels for metric in await a_run() for name, labels in as_prometheus(metric).items()}
    assert label in series[name]


async def test_docs_list_the_metrics_of_a_run() -> None:
    """The table of the docs has the metrics that a run reports, and no other."""
    listed = re.findall(r"^\| (`vbc\..*?) \|", (DOCS / "observe.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"`(vbc[^`]+)`", " ".join(listed))) == {metric.name for metric in await a_run()}
