"""Note the signals that ask a push to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Generator
from types import FrameType
from typing import Final

from ...errors import VBCError
from ..failures import INTERRUPTED

_SIGNALS: Final = tuple(
    number
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    if (number := getattr(signal, name, None)) is not None
)


class StoppedError(VBCError):
    """Report that a signal, or a limit, has asked the command to end."""


async def sleep_until_asked(asked: asyncio.Event, seconds: float) -> None:
    """Sleep, unless a signal asks the command to end.

    Raises:
        StoppedError: it was asked to end.
    """
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asked.wait(), seconds)
        raise StoppedError("asked to stop")


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

    def _take(self, number: int, frame: FrameType | None) -> None:
        del number, frame
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
