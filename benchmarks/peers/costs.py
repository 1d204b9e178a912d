"""Measure a fresh token, a request, memory and the import of each peer (questions 1, 2, 11 and 12)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from ..footprint import time_import
from ..http_calls import CONCURRENT, time_requests
from ..rounds import Round, ratio_cells, run_in_turn
from ..sandboxes import call_record
from ..token_reads import time_awaits
from .adapters import adapter
from .child import session_memory
from .comparison import Cell, Comparison, Table
from .peer import Peer

PROBES = 200
SECONDS_PER_ROUND = 0.1
SESSIONS = (1, 100, 1_000, 10_000)
RESIDENT_FROM, TRACED_TO = 1_000, 1_000


async def fresh_token(comparison: Comparison) -> Table:
    """Time the header of the next request while the token is fresh."""
    names = comparison.names
    async with AsyncExitStack() as stack:
        sides = {}
        for name in names:
            peer = await stack.enter_async_context(comparison.peer(name, comparison.sandbox()))
            await peer.authorization()
            started = time.perf_counter()
            await time_awaits(peer.authorization, PROBES)()
            times = int(SECONDS_PER_ROUND / ((time.perf_counter() - started) / PROBES))
            sides[name] = time_awaits(peer.authorization, times)
        rounds = await run_in_turn(sides, comparison.pick(11, 3))
    return Table(
        1,
        "What does a fresh token cost?",
        "One coroutine asks for the header of the next request, again and again, through the public API of each peer. "
        f"Medians of rounds in turn; the ratio is that of each round to `{names[0]}`, median and range.",
        ["cost", "ratio (range)"],
        {name: ratio_cells(rounds[name], rounds[names[0]], unit="ns") for name in names},
    )


async def requests(comparison: Comparison) -> Table:
    """Time authenticated requests, 64 at a time."""
    names, sandbox, record = comparison.names, comparison.sandbox(), call_record()

    def sender(peer: Peer) -> Callable[[], Awaitable[None]]:
        async def send() -> None:
            assert await peer.post(peer.target.record_url, record) == 200  # noqa: S101

        return send

    async with AsyncExitStack() as stack:
        sides = {}
        for name in names:
            peer = await stack.enter_async_context(comparison.peer(name, sandbox))
            await peer.authorization()
            sides[name] = time_requests(sender(peer), CONCURRENT * comparison.pick(10, 4))
        rounds = await run_in_turn(sides, comparison.pick(9, 3))
    first = rounds[names[0]]
    rows = {
        name: [
            *ratio_cells([speed for speed, _ in rounds[name]], [speed for speed, _ in first], unit="/s"),
            *ratio_cells([cpu for _, cpu in rounds[name]], [cpu for _, cpu in first], unit="ms"),
        ]
        for name in names
    }
    return Table(
        2,
        "What does an authenticated request cost?",
        f"POSTs, {CONCURRENT} at a time, to one sandbox in a process of its own; rounds in turn. Each peer sends with "
        "the HTTP client of its documentation, so `azure_core` and `authlib_httpx` include the cost of theirs.",
        ["requests per second", "ratio (range)", "client CPU for 1,000", "ratio (range)"],
        rows,
    )


async def memory(comparison: Comparison) -> Table:
    """Measure the memory of many sessions with a token, one for each account."""
    rows: dict[str, list[Cell]] = {}
    figures: dict[str, list[float]] = {}
    counts = SESSIONS[: comparison.pick(4, 3)]
    for name in comparison.names:
        cells: list[Cell] = []
        for count in counts:
            sandbox = comparison.sandbox()
            target = comparison.target(sandbox)
            measured = []
            if count <= TRACED_TO:
                measured.append(await session_memory(name, target, count, traced=True))
                text = f"{measured[0]:,.3g}"
            else:
                text = ""
            if count >= RESIDENT_FROM:
                measured.append(await session_memory(name, target, count, traced=False))
                text += f" ({measured[-1]:,.3g})"
            sandbox.send("close")
            cells.append(text.strip())
            figures.setdefault(name, []).append(measured[0])
        rows[name] = cells
    return Table(
        11,
        "What does a session with a token take?",
        "KB per session, for so many in a new process, by tracemalloc; in brackets by resident memory. Sessions share "
        "one `aiohttp.ClientSession` where the peer takes one; each session of `authlib_httpx` has its own connection "
        "pool, and each of `google_auth_aio` its own `requests` session.",
        [f"{count:,}" for count in counts],
        rows,
        {"counts": counts, "kilobytes": figures},
    )


async def import_time(comparison: Comparison) -> Table:
    """Time the import of each peer in a new interpreter."""

    def importing(statement: str) -> Round[float]:
        return lambda: time_import(statement)

    statements = {name: adapter(name).imports for name in comparison.names}
    sides = {"aiohttp": importing("import aiohttp")} | {name: importing(statements[name]) for name in statements}
    rounds = await run_in_turn(sides, comparison.pick(7, 3))
    return Table(
        12,
        "What does the import cost?",
        "Each in a new interpreter; rounds in turn. The ratio is that to `import aiohttp`, median and range.",
        ["import", "time", "ratio (range)"],
        {
            name: [f"`{statement}`", *ratio_cells(rounds[name], rounds["aiohttp"], unit="ms")]
            for name, statement in statements.items()
        },
    )
