"""Run blocking calls in threads that keep neither the event loop nor the end of the process waiting."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final, TypeVar

from ..errors import StoreError

_T = TypeVar("_T")
_MAX_THREADS: Final = 16
_TIME_TO_UNDO: Final = 0.5


class _DaemonThreads(Executor):
    """Start a daemon thread for each call: a hung file system must not take the loop's own executor."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.free_places()

    def free_places(self) -> None:
        """Count no call as running: a forked process has none of its parent's threads."""
        self._places = threading.BoundedSemaphore(self._most)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a call, and return its future.

        Raises:
            StoreError: too many calls are running already.
        """
        if not self._places.acquire(blocking=False):
            raise StoreError(f"{_MAX_THREADS} calls wait for the file system already: check whether it hangs")
        future: Future[Any] = Future()

        def run() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                self._places.release()
                future.set_exception(error)
            else:
                self._places.release()
                future.set_result(result)

        threading.Thread(target=run, name="truecaller_vbc file", daemon=True).start()
        return future


_threads: Final = _DaemonThreads(_MAX_THREADS)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.free_places)


async def run_in_thread(work: Callable[[], _T], undo: Callable[[_T], object] | None = None) -> _T:
    """Run `work` in a daemon thread. It may hang for ever: the process ends all the same.

    Args:
        work: what to do.
        undo: called with the result if the caller was cancelled meanwhile.

    Raises:
        StoreError: sixteen calls are running already, so the file system hangs.
    """
    running = asyncio.get_running_loop().run_in_executor(_threads, work)
    if undo is None:
        return await running
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:

        def take_back(done: asyncio.Future[_T]) -> None:
            if not done.cancelled() and done.exception() is None:
                undo(done.result())

        running.add_done_callback(take_back)
        # Usually it is done in a moment, and then the caller leaves nothing behind.
        await asyncio.wait({running}, timeout=_TIME_TO_UNDO)
        raise
