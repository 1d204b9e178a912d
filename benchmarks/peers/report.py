"""Write the tables as a Markdown page, SVG plots and one JSON file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

from ..report import today, write_page
from .adapters import NAMES, adapter, versions
from .comparison import Cell, Table
from .failures import BUDGET_PER_MINUTE

FINDINGS = Path(__file__).with_name("findings.md")
BUSY = 1.0
BUDGET = 10
OURS, OTHERS = "#c1272d", "#8a9099"


@attrs.frozen
class Environment:
    """When and where the run was made."""

    date: str
    python: str
    system: str
    cpus: int | None
    versions: dict[str, str]


def write(tables: list[Table], folder: Path | None) -> str:
    """Return the page and, if there is a folder, write everything into it.

    Tables of other questions in the folder's results.json are kept.
    """
    environment = Environment(
        date=today(),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpus=os.cpu_count(),
        versions={"aiohttp": version("aiohttp")} | versions(),
    )
    if folder is None:
        return _page(tables, environment, [])
    folder.mkdir(parents=True, exist_ok=True)
    if (results := folder / "results.json").exists():
        kept = {table["number"]: Table(**table) for table in json.loads(results.read_text())["tables"]}
        tables = list((kept | {table.number: table for table in tables}).values())
        tables.sort(key=lambda table: table.number)
    plots = [_draw(table, folder / f"{environment.date}-peers-{table.number}") for table in tables]
    page = _page(tables, environment, [name for name in plots if name])
    write_page("peers", page, folder)
    windows = {name: {"window_s": adapter(name).window, "fixed": adapter(name).fixed} for name in NAMES}
    content = attrs.asdict(environment) | {"windows": windows, "tables": [attrs.asdict(table) for table in tables]}
    results.write_text(json.dumps(content, indent=1) + "\n")
    return page


def _page(tables: list[Table], environment: Environment, plots: list[str]) -> str:
    busy = sum(table.load >= BUSY for table in tables)
    lines = [
        "# Comparison with other libraries",
        "",
        f"{environment.date}, CPython {environment.python}, {environment.system}, {environment.cpus} cores.",
        f"{sum(table.seconds for table in tables) / 60:.0f} minutes of `python benchmarks/peers/run.py`.",
        f"The load average was {BUSY:g} or more before {busy} of the {len(tables)} questions; it is given with each.",
        "Counts (mints, 401s, attempts) hardly depend on that; times do, ratios less so.",
        "",
        ", ".join(f"{name} {number}" for name, number in environment.versions.items()) + ".",
        "",
        "Each peer is used through its own public API, in the way that it offers for a custom token source.",
        "The adapters in `benchmarks/peers` name the source of each, and what it cannot handle.",
        "",
    ]
    for table in tables:
        prefix = f"{environment.date}-peers-{table.number}-"
        lines += [
            f"## {table.number}. {table.title}",
            "",
            f"{table.how} Load average before: {table.load:.1f}.",
            "",
            f"| | {' | '.join(table.columns)} |",
            "|---" * (len(table.columns) + 1) + "|",
            *(f"| {_bold(name)} | {' | '.join(map(_cell_text, cells))} |" for name, cells in table.rows.items()),
            "",
            *(f"![{table.title}]({name})\n" for name in plots if name.startswith(prefix)),
        ]
    if len(tables) > 1:
        lines.append(FINDINGS.read_text())
    return "\n".join(lines).rstrip() + "\n"


def _bold(name: str) -> str:
    return f"**{name}**" if name.startswith("ours") else name


def _cell_text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else f"{cell:,.4g}"


def _draw(table: Table, stem: Path) -> str:
    """Draw the plot of a question that has one, and return the name of its file, else ""."""
    if table.number not in _PLOTS or not table.figures:
        return ""
    import matplotlib as mpl  # noqa: PLC0415 - from requirements.txt, and takes half a second

    mpl.use("svg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    mpl.rcParams.update({"svg.hashsalt": "peers", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    name, plot = _PLOTS[table.number]
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    plot(axes, table.figures)
    path = stem.with_name(f"{stem.name}-{name}.svg")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    # matplotlib writes trailing blanks, which git would report.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path.name


def _plot_lines(axes: Any, x: list[int], series: dict[str, list[float]]) -> None:
    """Plot one line per peer; equal lines share a label."""
    names_of: dict[tuple[float, ...], list[str]] = {}
    for name, values in series.items():
        names_of.setdefault(tuple(values), []).append(name)
    for line, names in names_of.items():
        style = {"color": OURS, "linewidth": 2.5, "zorder": 3} if "ours" in names else {"linewidth": 1.2}
        axes.plot(x[: len(line)], line, marker="o", markersize=3, label="\n".join(names), **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=7)


def _plot_bars(axes: Any, names: list[str], series: dict[str, list[float]]) -> None:
    """Plot one pair of bars per peer, the first series in grey and the second in red."""
    for (label, values), offset, color in zip(series.items(), (0.2, -0.2), (OTHERS, OURS), strict=True):
        positions = [position + offset for position in range(len(names))]
        axes.barh(positions, list(reversed(values)), height=0.38, color=color, label=label)
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.legend(frameon=False, fontsize=8)


def _plot_cold_start(axes: Any, figures: dict[str, Any]) -> None:
    _plot_lines(axes, figures["crowds"], figures["attempts"])
    axes.axhline(BUDGET, linestyle=":", color="black", linewidth=1)
    axes.set_xlabel(
        "coroutines that ask once, at a cold start, while the token endpoint answers 500 (dotted: the budget)"
    )
    axes.set_ylabel("mint attempts")


def _plot_latency(axes: Any, figures: dict[str, Any]) -> None:
    names = [name for name, quantiles in figures.items() if quantiles["near"]]
    series = {
        "p99 of all other calls": [figures[name]["else"][1] for name in names],
        "p99 near a refresh": [figures[name]["near"][1] for name in names],
    }
    _plot_bars(axes, names, series)
    axes.set_xlabel("ms; a mint takes 100 ms")


def _plot_attempts(axes: Any, figures: dict[str, Any]) -> None:
    names = list(figures["held"])
    labels = {"a token is held": "held", "none is held": "empty"}
    series = {label: [max(0.05, figures[key][name]) for name in names] for label, key in labels.items()}
    _plot_bars(axes, names, series)
    axes.axvline(BUDGET_PER_MINUTE, linestyle=":", color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("mint attempts per minute while the token endpoint answers 500 (dotted: the budget)")


def _plot_memory(axes: Any, figures: dict[str, Any]) -> None:
    _plot_lines(axes, figures["counts"], figures["kilobytes"])
    axes.set_xlabel("sessions (up to 1,000: traced; 10,000: resident)")
    axes.set_ylabel("KB for each")


_PLOTS: dict[int, tuple[str, Callable[[Any, dict[str, Any]], None]]] = {
    3: ("cold-start", _plot_cold_start),
    4: ("around-a-refresh", _plot_latency),
    6: ("failing-endpoint", _plot_attempts),
    11: ("memory", _plot_memory),
}
