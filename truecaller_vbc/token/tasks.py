"""Run tasks that finish what has been paid for, and tell which cancellations are meant for the running task.

A ``CancelledError`` out of foreign code need not be meant for us: it may only say that something which that code waited
for was cancelled. Foreign code may also swallow a cancellation that was meant for us.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
_LATE: Final = 0.5
_SECOND_LOOK: Final = 1.0
_TURNS: Final = 50
# The task that owns the context. asyncio's timers copy the context in which they are made, so a cancellation by
# a timeout inside the task is told from one that comes from outside.
_owner: Final = contextvars.ContextVar[object]("_owner", default=None)


class GracefulTask(asyncio.Task[_T]):
    """Defer cancellations from outside while the task is shielded, for at most `grace` seconds.

    It serves `close`, the end of `asyncio.run` (which cancels all tasks and waits for them), a harness that cancels all
    tasks, and signal handlers alike. The task runs in an empty context: the context variables of a request must not
    live on in a task that outlives the request.

    Args:
        coroutine: what to run.
        loop: the running loop.
        grace: seconds by which a cancellation is deferred; 0 for none.
        name: for asyncio's debug output.

    Attributes:
        cancelled_from_outside: whether a cancellation was deferred.
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, _T], *, loop: asyncio.AbstractEventLoop, grace: float, name: str
    ) -> None:
        self.cancelled_from_outside: bool = False
        self._grace = grace
        self._shielded = False
        self._timer: asyncio.TimerHandle | None = None
        context = contextvars.Context()
        context.run(_owner.set, self)
        super().__init__(coroutine, loop=loop, name=name, context=context)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the task, at once or after the grace period."""
        if not self._shielded or not self._grace or _owner.get() is self:
            return super().cancel(msg)
        self.cancelled_from_outside = True
        if self._timer is None and not self.done():
            self._timer = self.get_loop().call_later(self._grace, super().cancel, msg)
        return not self.done()

    @contextmanager
    def shielded(self) -> Generator[None]:
        """Defer cancellations inside the block."""
        self._shielded = True
        try:
            yield
        finally:
            self._shielded = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None


@contextmanager
def shielded() -> Generator[None]:
    """Defer cancellations of the running task inside the block, if it is a `GracefulTask`."""
    task = asyncio.current_task()
    if not isinstance(task, GracefulTask):
        yield
        return
    with task.shielded():
        yield


def cancelled_from_outside() -> bool:
    """Tell whether the cancellation of the running task was deferred, so that it should start nothing new."""
    task = asyncio.current_task()
    return isinstance(task, GracefulTask) and task.cancelled_from_outside


class Deadline:
    """Call back after `seconds`, but only once everything that has arrived until then is read.

    An event loop that was stopped or blocked runs its timers before the tasks that would read an answer. So the loop
    turns a few more times first; if it was late, it has another second.

    Args:
        seconds: from now, on the event loop's clock.
        callback: what to call.
        context: of the call; None for a copy of the current one.
    """

    __slots__ = ("_callback", "_due", "_loop", "_timer")

    def __init__(
        self, seconds: float, callback: Callable[[], object], context: contextvars.Context | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._due = self._loop.time() + seconds
        self._timer: asyncio.Handle = self._loop.call_at(self._due, self._ring, context=context)

    def _ring(self) -> None:
        if self._loop.time() < self._due + _LATE:
            self._turn(_TURNS)
        else:
            self._timer = self._loop.call_later(_SECOND_LOOK, self._callback)

    def _turn(self, left: int) -> None:
        if left:
            self._timer = self._loop.call_soon(self._turn, left - 1)
        else:
            self._callback()

    def cancel(self) -> None:
        """Do not call back any more."""
        self._timer.cancel()


class timeout:  # noqa: N801 - used like `asyncio.timeout`
    """End a block with TimeoutError after `seconds`, as `asyncio.timeout` does, but with a `Deadline`.

    Args:
        seconds: from the start of the block.
    """

    __slots__ = ("_deadline", "_scope", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scope = asyncio.timeout(None)
        self._deadline: Deadline | None = None

    async def __aenter__(self) -> None:
        await self._scope.__aenter__()
        loop = asyncio.get_running_loop()
        self._deadline = Deadline(self._seconds, lambda: self._scope.reschedule(loop.time()))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._deadline is not None  # noqa: S101 - entered first
        self._deadline.cancel()
        await self._scope.__aexit__(kind, error, traceback)


def raise_if_cancelled() -> None:
    """Raise CancelledError if this task was cancelled but the awaited code swallowed it."""
    if _is_cancelled():
        raise asyncio.CancelledError


def reraise_if_cancelled(error: BaseException) -> None:
    """Re-raise `error` if it is a cancellation of this task itself, or ends the coroutine or the program."""
    if isinstance(error, GeneratorExit | KeyboardInterrupt | SystemExit):
        raise error
    if isinstance(error, asyncio.CancelledError) and _is_cancelled():
        raise error


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
