"""Prints the bytes of one of so many sessions that have a token. Run in a process of its own, which is then gone."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import tracemalloc
from pathlib import Path

from aiohttp import ClientSession

sys.path[:0] = [str(Path(__file__).parents[1])]

from peers.adapters import adapter
from peers.peer import Peer
from peers.wire import Wire

AT_ONCE = 20
REST = 1.1


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def main(name: str, count: int, how: str) -> None:
    wire, kind = Wire(**json.loads(sys.stdin.read())), adapter(name)
    peers: list[Peer] = []
    limit = asyncio.Semaphore(AT_ONCE)
    async with ClientSession() as http:

        async def one() -> None:
            async with limit:
                peer = await kind(wire, http).__aenter__()
                await peer.authorization()
                peers.append(peer)

        await asyncio.gather(*(one() for _ in range(AT_ONCE)))
        gc.collect()
        if how == "traced":
            tracemalloc.start()
        before = resident()
        await asyncio.gather(*(one() for _ in range(count)))
        await asyncio.sleep(REST)
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] if how == "traced" else resident() - before
        sys.stdout.write(f"{used / count}\n")
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
