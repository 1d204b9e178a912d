"""Print the ratios as a Markdown table (extra ``dev``).

    python benchmarks/run.py [NAME ...]

A run of all benchmarks is written to ``benchmarks/results/DATE-speed.md``. A missed target does not fail the run. A
broken promise, such as a second mint, does.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from benchmarks import accounts, footprint, http_calls, minting, stores, token_reads, webhooks
from benchmarks.report import as_json, speed_page, table, write_page
from benchmarks.rounds import Effort, Row
from truecaller_vbc import ConfigurationError

BENCHMARKS: dict[str, Callable[[Effort], Awaitable[list[Row]]]] = {
    "fresh_token": token_reads.fresh_token,
    "current_token": token_reads.current_token,
    "authenticated_posts": http_calls.authenticated_posts,
    "cold_start": minting.cold_start,
    "around_refresh": minting.around_refresh,
    "memory": footprint.memory,
    "accounts": accounts.accounts,
    "imports": footprint.imports,
    "typed_calls": http_calls.typed_calls,
    "stores": stores.stores,
    "webhooks": webhooks.webhooks,
}
SLOW = {"stores"}  # it waits for tokens to become due for a refresh; --quick runs it only if it is named


async def run(names: list[str], *, quick: bool) -> list[Row]:
    """Run the named benchmarks, or all, and print the progress to stderr."""
    effort = Effort(rounds=3, scale=0.2) if quick else Effort()
    rows: list[Row] = []
    for name in names or [name for name in BENCHMARKS if not (quick and name in SLOW)]:
        started = time.perf_counter()
        try:
            rows += await BENCHMARKS[name](effort)
        except ConfigurationError as error:  # for example, no Redis server is installed
            print(f"{name}: skipped, {error}", file=sys.stderr)
        else:
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return rows


def benchmark_name(text: str) -> str:
    """Return `text` if it names a benchmark.

    Raises:
        argparse.ArgumentTypeError: it does not.
    """
    if text not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"unknown benchmark {text!r}; choose from {', '.join(BENCHMARKS)}")
    return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", type=benchmark_name, metavar="NAME", help=f"{', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="run fewer and shorter rounds; writes no page")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    results = asyncio.run(run(options.names, quick=options.quick))
    print(as_json(results) if options.json else table(results))
    if not options.names and not options.quick:
        write_page("speed", speed_page(results))
