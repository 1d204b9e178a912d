"""The few answers that a picture tells better than a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .bench import Answer

BUDGET_PER_MINUTE = 10 / 30
BUDGET = 10
OURS, OTHERS = "#c1272d", "#8a9099"


def draw(answer: Answer, stem: Path) -> str:
    """Draw it as SVG, if it is one of those, and return the file's name; else nothing."""
    if answer.number not in PLOTS or not answer.figures:
        return ""
    import matplotlib as mpl  # noqa: PLC0415 the extra `bench`, and half a second

    mpl.use("svg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    mpl.rcParams.update({"svg.hashsalt": "peers", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    name, draw_on = PLOTS[answer.number]
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    draw_on(axes, answer.figures)
    path = stem.with_name(f"{stem.name}-{name}.svg")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    # Trailing blanks are matplotlib's, and no business of a repository.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path.name


def _lines(axes: Any, x: list[int], series: dict[str, list[float]]) -> None:
    """One line for each peer; those that lie on one another share a label."""
    shared: dict[tuple[float, ...], list[str]] = {}
    for name, of in series.items():
        shared.setdefault(tuple(of), []).append(name)
    for values, names in shared.items():
        ours = "ours" in names
        style = {"color": OURS, "linewidth": 2.5, "zorder": 3} if ours else {"linewidth": 1.2}
        axes.plot(x[: len(values)], values, marker="o", markersize=3, label="\n".join(names), **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=7)


def _convoy(axes: Any, figures: dict[str, Any]) -> None:
    _lines(axes, figures["crowds"], figures["attempts"])
    axes.axhline(BUDGET, linestyle=":", color="black", linewidth=1)
    axes.set_xlabel(
        "coroutines that ask once, at a cold start, while the token endpoint answers 500 (dotted: the budget)"
    )
    axes.set_ylabel("mint attempts")


def _latency(axes: Any, figures: dict[str, Any]) -> None:
    names = [name for name, one in figures.items() if one["near"]][::-1]
    for offset, part, color in ((0.2, "else", OTHERS), (-0.2, "near", OURS)):
        places = [place + offset for place in range(len(names))]
        label = "p99 near a refresh" if part == "near" else "p99 of all other calls"
        axes.barh(places, [figures[name][part][1] for name in names], height=0.38, color=color, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("ms; a mint takes 100 ms")
    axes.legend(frameon=False, fontsize=8)


def _attempts(axes: Any, figures: dict[str, Any]) -> None:
    names = list(figures["held"])[::-1]
    for offset, part, color in ((0.2, "held", OTHERS), (-0.2, "empty", OURS)):
        places = [place + offset for place in range(len(names))]
        label = "a token is held" if part == "held" else "none is held"
        axes.barh(places, [max(0.05, figures[part][name]) for name in names], height=0.38, color=color, label=label)
    axes.axvline(BUDGET_PER_MINUTE, linestyle=":", color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("mint attempts per minute while the token endpoint answers 500 (dotted: the budget)")
    axes.legend(frameon=False, fontsize=8)


def _memory(axes: Any, figures: dict[str, Any]) -> None:
    _lines(axes, figures["counts"], figures["kilobytes"])
    axes.set_xlabel("sessions (up to 1,000: traced; 10,000: resident)")
    axes.set_ylabel("KB for each")


PLOTS: dict[int, tuple[str, Callable[[Any, dict[str, Any]], None]]] = {
    3: ("cold-start", _convoy),
    4: ("around-a-refresh", _latency),
    6: ("failing-endpoint", _attempts),
    11: ("memory", _memory),
}
