"""Compare other libraries with this one (extra ``dev``, and ``benchmarks/requirements.txt``).

    python benchmarks/peers/run.py [--only 3,5] [--quick]

Writes Markdown tables, plots and ``results.json`` into ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path

import attrs

from benchmarks.peers import costs, failures, processes, refreshes
from benchmarks.peers.adapters import NAMES, adapter
from benchmarks.peers.comparison import Comparison, Table
from benchmarks.peers.report import write
from benchmarks.report import RESULTS
from benchmarks.sandboxes import SandboxProcess

QUESTIONS: dict[int, Callable[[Comparison], Awaitable[Table]]] = {
    1: costs.fresh_token,
    2: costs.requests,
    3: refreshes.cold_start,
    4: refreshes.refresh_under_load,
    5: refreshes.cancelled_waiter,
    6: failures.failing_endpoint,
    7: failures.rejected_tokens,
    8: failures.redirect,
    9: processes.restarts,
    10: processes.processes,
    11: costs.memory,
    12: costs.import_time,
}


async def run(numbers: list[int], names: tuple[str, ...], *, quick: bool) -> list[Table]:
    """Answer the questions, and print the progress to stderr."""
    tables = []
    for number in numbers:
        started, load = time.perf_counter(), os.getloadavg()[0]
        with SandboxProcess() as sandboxes:
            table = await QUESTIONS[number](Comparison(sandboxes, names, quick))
        seconds = round(time.perf_counter() - started)
        tables.append(attrs.evolve(table, load=round(load, 2), seconds=seconds))
        print(f"question {number}: {seconds} s", file=sys.stderr, flush=True)
    return tables


def check_installed(names: tuple[str, ...]) -> None:
    """Check the imports before anything is measured.

    Raises:
        SystemExit: a package is missing.
    """
    try:
        for name in names:
            adapter(name)
        import_module("matplotlib")
    except ImportError as error:
        raise SystemExit(f"{error}: install it with pip install -e '.[dev]' -r benchmarks/requirements.txt") from None


def peer_names(text: str) -> tuple[str, ...]:
    """Parse names of peers, separated by commas.

    Raises:
        argparse.ArgumentTypeError: a name is unknown.
    """
    names = tuple(text.split(","))
    if set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"unknown peer in {text!r}; choose from {', '.join(NAMES)}")
    return names


def question_numbers(text: str) -> list[int]:
    """Parse numbers of questions, separated by commas.

    Raises:
        argparse.ArgumentTypeError: a number is unknown.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if set(numbers) - set(QUESTIONS):
        raise argparse.ArgumentTypeError(f"unknown question in {text!r}; give numbers from 1 to {max(QUESTIONS)}")
    return numbers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", type=question_numbers, default=list(QUESTIONS), metavar="3,5", help="answer only these questions"
    )
    parser.add_argument(
        "--peers", type=peer_names, default=NAMES, metavar="A,B", help="compare only these; the first is the baseline"
    )
    parser.add_argument("--quick", action="store_true", help="run fewer rounds and shorter waits")
    parser.add_argument(
        "--out", type=Path, help="folder of the result; other tables in it stay; benchmarks/results after a whole run"
    )
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the peers log every failure, and failures are part of the questions
    warnings.simplefilter("ignore")
    check_installed(options.peers)
    results = asyncio.run(run(options.only, options.peers, quick=options.quick))
    whole = options.only == list(QUESTIONS) and not options.quick
    print(write(results, options.out or (RESULTS if whole else None)))
