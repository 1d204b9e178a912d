"""Let one event loop stand for several processes, each of which can be stopped and continued like by SIGSTOP."""

from __future__ import annotations

import asyncio
import selectors
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, cast

from truecaller_vbc.token.schedule import Schedule

SIMULATION: Final = 0
"""The process that is never stopped: the simulation itself, its server included."""


class _Owned:
    """A callback of one process, which waits while that process is stopped."""

    __slots__ = ("args", "callback", "handle", "loop", "process")

    def __init__(
        self, loop: ProcessesLoop, process: int, callback: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        self.loop, self.process = loop, process
        self.callback, self.args = callback, args
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        loop = self.loop
        if self.process in loop.stopped:
            loop.held.append((self.process, cast(asyncio.Handle, self.handle)))
            return
        before, loop.process = loop.process, self.process
        try:
            self.callback(*self.args)
        finally:
            loop.process = before


class ProcessesLoop(asyncio.SelectorEventLoop):
    """Event loop that knows for which process each callback, timer and socket works.

    A task belongs to the process that started it; all else belongs to the process whose callback asked for it.

    Attributes:
        process: the one that runs now.
        stopped: the processes that are stopped.
        held: what would have run in them since.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.process = SIMULATION
        self.stopped: set[int] = set()
        self.held: list[tuple[int, asyncio.Handle]] = []
        self._tasks_of: weakref.WeakKeyDictionary[asyncio.Task[Any], int] = weakref.WeakKeyDictionary()
        self._schedules: dict[int, Schedule] = {}
        super().__init__(selector)

    def schedule(self) -> Schedule:
        """Return the schedule of the process that runs now: real ones have a loop each."""
        return self._schedules.setdefault(self.process, Schedule(self))

    @contextmanager
    def as_process(self, process: int) -> Generator[None]:
        """Let what is started inside the block belong to a process."""
        before, self.process = self.process, process
        try:
            yield
        finally:
            self.process = before

    def stop_process(self, process: int) -> None:
        """Run nothing of this process until `continue_process`."""
        self.stopped.add(process)

    def continue_process(self, process: int) -> None:
        """Run what has become due meanwhile, in its order."""
        self.stopped.discard(process)
        due = [handle for owner, handle in self.held if owner == process]
        self.held = [(owner, handle) for owner, handle in self.held if owner != process]
        for handle in due:
            cast(Any, self)._ready.append(handle)

    def is_stopped(self, key: selectors.SelectorKey) -> bool:
        """Return whether a socket belongs to a process that is stopped."""
        handles = key.data if isinstance(key.data, tuple) else ()
        return any(isinstance(h._callback, _Owned) and h._callback.process in self.stopped for h in handles if h)

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]
        owned = self._owned(callback, args)
        owned.handle = super().call_soon(owned, context=context)
        return owned.handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        owned = self._owned(callback, args)
        owned.handle = timer = super().call_at(when, owned, context=context)
        return timer

    def _add_reader(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle:
        owned = self._owned(callback, args)
        owned.handle = cast(Any, super())._add_reader(fd, owned)
        return owned.handle

    def _add_writer(self, fd: Any, callback: Any, *args: Any) -> asyncio.Handle:
        owned = self._owned(callback, args)
        owned.handle = cast(Any, super())._add_writer(fd, owned)
        return owned.handle

    def _owned(self, callback: Any, args: tuple[Any, ...]) -> _Owned:
        task = getattr(callback, "__self__", None)
        process = self.process
        if isinstance(task, asyncio.Task):
            process = self._tasks_of.setdefault(task, process)
        return _Owned(self, process, callback, args)
