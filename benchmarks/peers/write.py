"""The answers as a Markdown page, plots, and one JSON object."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import attrs

from .adapters import NAMES, adapter, versions
from .bench import Answer, Cell
from .plots import draw

LEARNED = Path(__file__).with_name("learned.md")
BUSY = 1.0


@attrs.frozen
class Circumstances:
    """Where and how the run was made."""

    date: str
    python: str
    system: str
    cpus: int | None
    versions: dict[str, str]


def circumstances() -> Circumstances:
    return Circumstances(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpus=os.cpu_count(),
        versions={"aiohttp": version("aiohttp")} | versions(),
    )


def page(answers: list[Answer], facts: Circumstances, plots: list[str]) -> str:
    """The whole page."""
    busy = sum(answer.load >= BUSY for answer in answers)
    lines = [
        "# The field measured",
        "",
        f"{facts.date}, CPython {facts.python}, {facts.system}, {facts.cpus} cores.",
        f"{sum(answer.seconds for answer in answers) / 60:.0f} minutes of `python benchmarks/peers/run.py`.",
        f"The load average was {BUSY:g} or more before {busy} of the {len(answers)} questions; it is given with each.",
        "Counts (mints, 401s, attempts) hardly depend on that; times do, ratios less so.",
        "",
        ", ".join(f"{name} {number}" for name, number in facts.versions.items()) + ".",
        "",
        "Each peer is used through its own public API, in the way that it gives for a token source of one's own.",
        "`benchmarks/peers/adapters` has one short file for each, which says where from, and to what it has no answer.",
        "",
    ]
    for answer in answers:
        lines += [
            f"## {answer.number}. {answer.title}",
            "",
            f"{answer.how} Load average before: {answer.load:.1f}.",
            "",
            *grid(answer),
            "",
        ]
        lines += [
            f"![{answer.title}]({name})\n" for name in plots if name.startswith(f"{facts.date}-peers-{answer.number}-")
        ]
    if len(answers) > 1 and LEARNED.exists():
        lines.append(LEARNED.read_text())
    return "\n".join(lines).rstrip() + "\n"


def grid(answer: Answer) -> list[str]:
    """One table, as lines."""
    lines = [f"| | {' | '.join(answer.columns)} |", "|---" * (len(answer.columns) + 1) + "|"]
    for name, cells in answer.rows.items():
        bold = f"**{name}**" if name.startswith("ours") else name
        lines.append(f"| {bold} | {' | '.join(map(shown, cells))} |")
    return lines


def shown(cell: Cell) -> str:
    return cell if isinstance(cell, str) else f"{cell:,.4g}"


def write(answers: list[Answer], out: Path | None) -> str:
    """Write everything into `out`, if it is given, and return the page. What was not asked anew stays."""
    facts = circumstances()
    if out is None:
        return page(answers, facts, [])
    out.mkdir(parents=True, exist_ok=True)
    if (there := out / "results.json").exists():
        kept = {one["number"]: Answer(**one) for one in json.loads(there.read_text())["answers"]}
        answers = list((kept | {answer.number: answer for answer in answers}).values())
        answers.sort(key=lambda answer: answer.number)
    plots = [draw(answer, out / f"{facts.date}-peers-{answer.number}") for answer in answers]
    text = page(answers, facts, [name for name in plots if name])
    (out / f"{facts.date}-peers.md").write_text(text)
    windows = {name: {"window_s": adapter(name).window, "fixed": adapter(name).fixed} for name in NAMES}
    whole = attrs.asdict(facts) | {"windows": windows, "answers": [attrs.asdict(answer) for answer in answers]}
    (out / "results.json").write_text(json.dumps(whole, indent=1) + "\n")
    return text
