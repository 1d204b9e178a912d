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
    """Run calls in a few daemon threads: a hung file system must not take the loop's own executor."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Begin with no threads and no calls, as in a forked process."""
        self._guard = threading.Lock()
        self._waiting: dict[Future[Any], Callable[[], Any]] = {}
        self._threads = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a call as soon as a thread is free, and return its future. A cancelled one is never begun."""
        future: Future[Any] = Future()
        with self._guard:
            self._waiting[future] = lambda: fn(*args, **kwargs)
            is_new = self._threads < self._most
            self._threads += is_new
        future.add_done_callback(self._drop)
        if is_new:
            try:
                threading.Thread(target=self._run, name="truecaller_vbc file", daemon=True).start()
            except BaseException:  # the system has no more threads
                with self._guard:
                    self._threads -= 1
                future.cancel()
                raise
        return future

    def _drop(self, future: Future[Any]) -> None:
        with self._guard:
            self._waiting.pop(future, None)

    def _run(self) -> None:
        while True:
            with self._guard:
                future = next(iter(self._waiting), None)
                if future is None:
                    self._threads -= 1
                    return
                call = self._waiting.pop(future)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            # Not kept until the next call, since it refers to documents.
            del future, call


_threads: Final = _DaemonThreads(_MAX_THREADS)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.forget)


async def run_in_thread(work: Callable[[], _T], undo: Callable[[_T], object] | None = None) -> _T:
    """Run `work` in a daemon thread. It may hang for ever: the process ends all the same.

    Args:
        work: what to do.
        undo: called with the result if the caller was cancelled meanwhile.
    """
    loop = asyncio.get_running_loop()
    if undo is None:
        return await loop.run_in_executor(_threads, work)
    given_up = threading.Event()

    def begin() -> _T:
        if given_up.is_set():
            raise StoreError("the caller gave up before a thread was free")
        return work()

    running = loop.run_in_executor(_threads, begin)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:

        def take_back(done: asyncio.Future[_T]) -> None:
            if not done.cancelled() and done.exception() is None:
                undo(done.result())

        running.add_done_callback(take_back)
        given_up.set()
        # Usually it is done in a moment, and then the caller leaves nothing behind.
        await asyncio.wait({running}, timeout=_TIME_TO_UNDO)
        raise
