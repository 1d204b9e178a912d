"""Tests of forks that happen while another thread works on the files of a store."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from truecaller_vbc import FileStore
from truecaller_vbc.stores import locks
from truecaller_vbc.stores.threads import run_in_thread

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
KEY = "a" * 32


@contextmanager
def _children() -> Iterator[list[int]]:
    children: list[int] = []
    try:
        yield children
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _fork_and_stay(children: list[int]) -> None:
    if (child := os.fork()) == 0:
        signal.pause()
        os._exit(1)
    children.append(child)


@pytest.mark.parametrize("part", ["lease", "gate", "lock"])
async def test_child_of_a_fork_keeps_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """A child that is forked in the moment that a lock is taken does not keep it locked as long as it lives."""
    store = FileStore(tmp_path / "token.json")
    flock = locks._flock
    with _children() as children:

        def taken(path: Path) -> int | None:
            descriptor = flock(path)
            if path.name.endswith(part) and not children:
                _fork_and_stay(children)
            return descriptor

        monkeypatch.setattr(locks, "_flock", taken)
        async with store.lease(KEY, 60) as first:
            assert first
            assert await store.write(KEY, '{"revision": 1}')
        assert children
        async with store.lease(KEY, 60) as second:
            assert second
            assert await store.write(KEY, '{"revision": 2}')


def _in_child(work: Callable[[], object]) -> str:
    """Return the answer of a forked process."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            answer = repr(work())
        except BaseException as error:
            answer = repr(error)
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return answer


async def test_child_has_threads_of_its_own(tmp_path: Path) -> None:
    """The calls that hang in the parent take none of the child's places for file work."""
    done = threading.Event()
    hanging = [asyncio.create_task(run_in_thread(done.wait)) for _ in range(16)]
    await asyncio.sleep(0.05)
    try:
        store = FileStore(tmp_path / "token.json")
        answer = _in_child(lambda: asyncio.run(store.read(KEY)))
    finally:
        done.set()
        await asyncio.gather(*hanging)

    assert answer == "None"
