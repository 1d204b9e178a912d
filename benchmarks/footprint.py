"""Measure the memory of idle sessions and the time of the import."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tracemalloc

import aiohttp

from truecaller_vbc import VBCSession

from .rounds import Effort, Row, compare, row_of_limit
from .sandboxes import sandbox_process

SESSIONS = 1000
WARM_UP = 10
LIMIT = 4096
REST = 1.1
TIMED_IMPORT = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


async def memory(effort: Effort) -> list[Row]:
    """Compare the bytes of an idle session that shares its `http` with 4 KiB.

    All that is left after a garbage collection counts: the session, its background task and timer, and its own token.
    Sessions are idle when they were not used for a second.
    """
    count = int(SESSIONS * max(effort.scale, 0.3))
    return [
        await _memory_row("that has a token", count, minted=True),
        await _memory_row("without one", count, minted=False),
    ]


async def _memory_row(name: str, count: int, *, minted: bool) -> Row:
    sessions: list[VBCSession] = []
    with sandbox_process(max_mints=1_000_000) as sandbox:
        async with aiohttp.ClientSession() as http:

            async def open_session() -> None:
                vbc = VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http)
                sessions.append(await vbc.__aenter__())  # no `async with`: its exit stack would be counted too
                if minted:
                    await vbc.token()

            for _ in range(WARM_UP):
                await open_session()
            gc.collect()
            tracemalloc.start()
            try:
                for _ in range(count):
                    await open_session()
                await asyncio.sleep(REST)
                gc.collect()
                used = tracemalloc.get_traced_memory()[0] / count
            finally:
                tracemalloc.stop()
            for vbc in sessions:
                await vbc.close()
    return row_of_limit(f"bytes of an idle session {name}, beside 4 KiB", "B", used, LIMIT)


async def imports(effort: Effort) -> list[Row]:
    """Compare the import of the session with that of aiohttp, each in a new interpreter.

    The import of the package alone is lazy and would not load the client.
    """
    return [
        await compare(
            "import of VBCSession beside import aiohttp",
            "ms",
            lambda: time_import("from truecaller_vbc import VBCSession"),
            lambda: time_import("import aiohttp"),
            target=1.2,
            rounds=effort.rounds,
        )
    ]


async def time_import(statement: str) -> float:
    """Return the milliseconds of an import statement in a new interpreter."""
    # Without byte code on disk, the warm-up round would not spare the later ones the compilation.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TIMED_IMPORT.format(statement), stdout=asyncio.subprocess.PIPE, env=environment
    )
    printed, _ = await child.communicate()
    return float(printed) * 1000
