"""What asking for a token costs while there is a fresh one."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

from fresh_token import awaiting
from rounds import in_turn, spread

from ..bench import Answer, Bench

PROBE = 200
SECONDS_PER_ROUND = 0.1


async def ask(bench: Bench) -> Answer:
    async with AsyncExitStack() as stack:
        timed = {}
        for name in bench.names:
            peer = await stack.enter_async_context(bench.peer(name, bench.farm.house()))
            await peer.authorization()
            started = time.perf_counter()
            await awaiting(peer.authorization, PROBE)()
            times = int(SECONDS_PER_ROUND / ((time.perf_counter() - started) / PROBE))
            timed[name] = awaiting(peer.authorization, times)
        rounds = await in_turn(timed, bench.pick(11, 3))
    rows = {name: spread(rounds[name], rounds[bench.names[0]], unit="ns") for name in bench.names}
    return Answer(
        1,
        "What does a fresh token cost?",
        "One coroutine asks for the header of the next request, again and again, through each peer's own public "
        "way to it. "
        f"Medians of rounds in turn; the ratio is that of each round to `{bench.names[0]}`, median and range.",
        ["cost", "ratio (range)"],
        rows,
    )
