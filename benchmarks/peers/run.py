"""The field measured: ``python benchmarks/peers/run.py [--only 3,5] [--quick]`` (extras ``dev`` and ``bench``).

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
from importlib import import_module
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # in the place of this folder, whose modules belong to the package `peers`

from peers.adapters import NAMES, adapter
from peers.bench import Answer, Bench
from peers.farm import Farm
from peers.questions import QUESTIONS
from peers.write import write


async def main(numbers: list[int], names: tuple[str, ...], *, quick: bool) -> list[Answer]:
    """Ask, and say on stderr how far it is."""
    answers = []
    for number in numbers:
        started, load = time.perf_counter(), os.getloadavg()[0]
        with Farm() as farm:
            answer = await QUESTIONS[number](Bench(farm, names, quick))
        seconds = round(time.perf_counter() - started)
        answers.append(attrs.evolve(answer, load=round(load, 2), seconds=seconds))
        print(f"question {number}: {seconds} s", file=sys.stderr, flush=True)
    return answers


def known(text: str) -> tuple[str, ...]:
    """Names of peers.

    Raises:
        argparse.ArgumentTypeError: one is none.
    """
    names = tuple(text.split(","))
    if set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"{text!r}: peers are {', '.join(NAMES)}")
    return names


def check_installed(names: tuple[str, ...]) -> None:
    """Before anything is measured.

    Raises:
        SystemExit: something is missing.
    """
    try:
        for name in names:
            adapter(name)
        import_module("matplotlib")
    except ImportError as error:
        raise SystemExit(f"{error}: pip install -e '.[dev,bench]'") from None


def several(text: str) -> list[int]:
    """Numbers of questions.

    Raises:
        argparse.ArgumentTypeError: one is none.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if set(numbers) - set(QUESTIONS):
        raise argparse.ArgumentTypeError(f"{text!r}: questions are numbered 1 to {max(QUESTIONS)}, as in --only 3,5")
    return numbers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=several, default=list(QUESTIONS), metavar="3,5", help="these questions alone")
    parser.add_argument(
        "--peers", type=known, default=NAMES, metavar="A,B", help="these peers alone; the first is the measure"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and shorter waits, for a first look")
    parser.add_argument(
        "--out",
        type=Path,
        help="the folder to write into, in which other answers stay; benchmarks/results after a whole run",
    )
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # peers log every failure, and failures are what they are asked about
    warnings.simplefilter("ignore")
    check_installed(options.peers)
    results = asyncio.run(main(options.only, options.peers, quick=options.quick))
    whole = options.only == list(QUESTIONS) and not options.quick
    print(
        write(
            results,
            options.out or (ROOT / "results" if whole else None),
        )
    )
