"""Processes that each need a token once, forked from one that has imported the peer: nothing else takes time."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

from peers.adapters import adapter
from peers.wire import Wire


def variants(names: tuple[str, ...]) -> Iterator[tuple[str, str, bool]]:
    """Label, name, and whether with a store in a file."""
    for name in names:
        yield name, name, False
        if name == "ours":
            yield "ours, with a file store", name, True


async def in_processes(name: str, wire: Wire, count: int, *, at_once: bool, store: bool) -> None:
    """Let `count` processes need a token, and wait for them.

    Raises:
        RuntimeError: one of them got none.
    """
    with TemporaryDirectory() as directory:
        if store:
            wire = attrs.evolve(wire, store=Path(directory, "token.json").as_uri())
        child = await asyncio.create_subprocess_exec(
            sys.executable, __file__, name, str(count), str(int(at_once)), stdin=asyncio.subprocess.PIPE
        )
        await child.communicate(json.dumps(attrs.asdict(wire)).encode())
        if child.returncode:
            raise RuntimeError(f"{name}: a process of {count} got no token")


async def need_a_token(name: str, wire: Wire) -> None:
    async with adapter(name)(wire) as peer:
        await peer.authorization()


def main(name: str, count: int, *, at_once: bool) -> int:
    """The number of processes that failed."""
    wire = Wire(**json.loads(sys.stdin.read()))
    adapter(name)
    failed, running = 0, []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                asyncio.run(need_a_token(name, wire))
                code = 0
            finally:
                os._exit(code)
        running.append(pid)
        if not at_once:
            failed += os.waitpid(running.pop(), 0)[1] != 0
    return failed + sum(os.waitpid(pid, 0)[1] != 0 for pid in running)


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1], int(sys.argv[2]), at_once=sys.argv[3] == "1")))
