"""Run a peer in a process of its own, to count mints of several processes or the memory of many sessions.

This file is also the script of that process: ``python child.py mint NAME COUNT at_once|in_turn`` forks processes that
need a token once, from one that has imported the peer; ``python child.py memory NAME COUNT traced|resident`` prints the
bytes of one session. The target comes as JSON on standard input.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
import tracemalloc
from pathlib import Path

import attrs
from aiohttp import ClientSession

from benchmarks.peers.adapters import adapter
from benchmarks.peers.peer import Peer, Target

OPENED_AT_ONCE = 20
REST = 1.1


async def run_processes(name: str, target: Target, count: int, *, at_once: bool) -> None:
    """Run `count` processes that each get one token.

    Raises:
        RuntimeError: a process got no token.
    """
    await _run_child("mint", name, count, "at_once" if at_once else "in_turn", target)


async def session_memory(name: str, target: Target, count: int, *, traced: bool) -> float:
    """Return the KB of one of `count` sessions with a token, as traced by Python or resident.

    Raises:
        RuntimeError: the process failed.
    """
    return float(await _run_child("memory", name, count, "traced" if traced else "resident", target)) / 1024


async def _run_child(task: str, name: str, count: int, how: str, target: Target) -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        task,
        name,
        str(count),
        how,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await child.communicate(json.dumps(attrs.asdict(target)).encode())
    if child.returncode:
        raise RuntimeError(f"{name}: the child process for {task!r} failed with exit code {child.returncode}")
    return printed


def _mint(name: str, target: Target, count: int, *, at_once: bool) -> int:
    """Fork the processes and return 1 if one of them failed, else 0."""

    async def get_token() -> None:
        async with adapter(name)(target) as peer:
            await peer.authorization()

    statuses, running = [], []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                asyncio.run(get_token())
                code = 0
            finally:
                os._exit(code)
        running.append(pid)
        if not at_once:
            statuses.append(os.waitpid(running.pop(), 0)[1])
    statuses += [os.waitpid(pid, 0)[1] for pid in running]
    return int(any(statuses))


async def _print_memory(name: str, target: Target, count: int, *, traced: bool) -> None:
    peers: list[Peer] = []
    limit = asyncio.Semaphore(OPENED_AT_ONCE)
    async with ClientSession() as http:

        async def open_peer() -> None:
            async with limit:
                peer = await adapter(name)(target, http).__aenter__()
                await peer.authorization()
                peers.append(peer)

        await asyncio.gather(*(open_peer() for _ in range(OPENED_AT_ONCE)))
        gc.collect()
        if traced:
            tracemalloc.start()
        before = _resident()
        await asyncio.gather(*(open_peer() for _ in range(count)))
        await asyncio.sleep(REST)
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] if traced else _resident() - before
        sys.stdout.write(f"{used / count}\n")
        sys.stdout.flush()
        os._exit(0)  # closing thousands of sessions would only take time


def _resident() -> int:
    """Return the bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main(task: str, name: str, count: int, how: str) -> int:
    """Run one task and return the exit code."""
    target = Target(**json.loads(sys.stdin.read()))
    adapter(name)
    if task == "mint":
        return _mint(name, target, count, at_once=how == "at_once")
    asyncio.run(_print_memory(name, target, count, traced=how == "traced"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
