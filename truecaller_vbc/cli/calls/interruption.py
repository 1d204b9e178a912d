"""Note the signals that ask a push to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Generator
from types import FrameType
from typing import Any, Final, TypeVar

from ...errors import VBCError
from ...session import VBCSession
from ..connection import wait_out_failure
from ..failures import ANY_FAILURE, INTERRUPTED

_SIGNALS: Final = [it for it in signal.Signals if it.name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")]
_Result = TypeVar("_Result")


class StoppedError(VBCError):
    """Report that a signal, or a limit, has asked the command to end."""


async def unless_asked(asked: asyncio.Event, work: Awaitable[_Result]) -> _Result:
    """Return the result of the work, unless a signal asks the command to end, which cancels it.

    Raises:
        StoppedError: it was asked to end.
    """
    stop: asyncio.Future[Any] = asyncio.create_task(asked.wait())
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise StoppedError("asked to stop")
        return task.result()
    finally:
        stop.cancel()
        task.cancel()


class Interruption:
    """Note that a signal asked the push to end.

    While `on` an event loop, the first signal sets `asked` and the second leaves; elsewhere each raises
    KeyboardInterrupt.

    Attributes:
        asked: set by the first signal.
    """

    def __init__(self) -> None:
        self.asked: asyncio.Event = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: Callable[[], object] | None = None

    @contextlib.contextmanager
    def handle_signals(self) -> Generator[None]:
        """Handle the signals inside the block, in the main thread only, and restore the old handlers."""
        # A signal that is ignored stays ignored: the parent process asked for that, as nohup does.
        taken = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._take) for number in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def on(self, loop: asyncio.AbstractEventLoop, leave: Callable[[], object]) -> Generator[None]:
        """Inside the block, the first signal sets `asked`; the second calls `leave` and ends the process."""
        self._loop, self._leave = loop, leave
        try:
            yield
        finally:
            self._loop = None

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self._loop is None:
            raise KeyboardInterrupt
        # Set the flag by a call into the loop, which otherwise would not wake up.
        self._loop.call_soon_threadsafe(self._ask)

    def _ask(self) -> None:
        if self.asked.is_set() and self._leave is not None:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._leave()
            os._exit(INTERRUPTED)
        self.asked.set()


async def in_session(
    session: VBCSession, work: Callable[[], Awaitable[_Result]], interruption: Interruption, leave: Callable[[], object]
) -> _Result | Exception | None:
    """Open the session, do the work, and return what ended it early; a signal is no error."""
    with interruption.on(asyncio.get_running_loop(), leave):
        try:
            async with session:
                await wait_out_failure(session)
                return await work()
        except StoppedError:
            return None
        except ANY_FAILURE as error:
            return error
