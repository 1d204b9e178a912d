"""Ratios in one run, as a Markdown table: ``python benchmarks/run.py`` (extra ``dev``).

Speed is no gate: only a broken promise, such as a second mint, fails. A whole run is written to
``benchmarks/results/DATE-speed.md``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import around_refresh
import authenticated_posts
import cold_start
import current_token
import fresh_token
import imports
import memory
import stores
import typed_calls
from report import as_json, keep, page, table
from rounds import Row

from truecaller_vbc import ConfigurationError

BENCHMARKS: dict[str, Callable[[int, float], Awaitable[list[Row]]]] = {
    "fresh_token": fresh_token.run,
    "current_token": current_token.run,
    "authenticated_posts": authenticated_posts.run,
    "cold_start": cold_start.run,
    "around_refresh": around_refresh.run,
    "memory": memory.run,
    "imports": imports.run,
    "typed_calls": typed_calls.run,
    "stores": stores.run,
}
SLOW = {"stores"}  # they wait for a soft point: --quick leaves them out, unless they are named


async def main(names: list[str], *, quick: bool) -> list[Row]:
    """Run them, and say on stderr how far it is."""
    rows: list[Row] = []
    for name in names or [name for name in BENCHMARKS if not (quick and name in SLOW)]:
        started = time.perf_counter()
        try:
            rows += await BENCHMARKS[name](3 if quick else 11, 0.2 if quick else 1.0)
        except ConfigurationError as error:  # such as no Redis to be had
            print(f"{name}: left out, {error}", file=sys.stderr)
        else:
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return rows


def known(name: str) -> str:
    """`name`, if it is that of a benchmark."""
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(BENCHMARKS)}")
    return name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", type=known, metavar="NAME", help=f"{', '.join(BENCHMARKS)}; or all")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    options = parser.parse_args()
    results = asyncio.run(main(options.names, quick=options.quick))
    print(as_json(results) if options.json else table(results))
    if not options.names and not options.quick:
        keep("speed", page(results))
