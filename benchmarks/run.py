"""``python benchmarks/run.py [--quick] [NAME ...]``: ratios in one run, as a Markdown table."""

from __future__ import annotations

import argparse
import asyncio
import platform
from collections.abc import Awaitable, Callable

import aiohttp
import around_refresh
import authenticated_posts
import cold_start
import fresh_path
import imports
import memory
import stores
from rounds import Row, table

BENCHMARKS: dict[str, Callable[[int, float], Awaitable[list[Row]]]] = {
    "fresh_path": fresh_path.run,
    "authenticated_posts": authenticated_posts.run,
    "cold_start": cold_start.run,
    "around_refresh": around_refresh.run,
    "memory": memory.run,
    "stores": stores.run,
    "imports": imports.run,
}


async def main(names: list[str], *, quick: bool) -> None:
    """Run them, and print what came out."""
    rows = []
    for name in names or BENCHMARKS:
        rows += await BENCHMARKS[name](3 if quick else 9, 0.2 if quick else 1.0)
    print(f"CPython {platform.python_version()}, aiohttp {aiohttp.__version__}, {platform.system()}\n")
    print(table(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="all of them without a name")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    options = parser.parse_args()
    asyncio.run(main(options.names, quick=options.quick))
