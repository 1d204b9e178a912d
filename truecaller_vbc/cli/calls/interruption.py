"""Ctrl-C and SIGTERM: once to end in order, twice to leave at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Generator
from types import FrameType
from typing import Final

_SIGNALS: Final = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGBREAK") if (number := getattr(signal, name, None)) is not None
)
INTERRUPTED: Final = 130


class Interruption:
    """What was asked for from outside.

    While `on` an event loop, the first signal sets `asked` and the second leaves; elsewhere each raises
    KeyboardInterrupt.

    Attributes:
        asked: set by the first signal.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave: Callable[[], object] | None = None

    @contextlib.contextmanager
    def watched(self) -> Generator[None]:
        """Take the signals, and give them back in the end. In the main thread only."""
        # One that is ignored stays so: whoever began this in the background meant it.
        taken = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._take) for number in taken}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def on(self, loop: asyncio.AbstractEventLoop, leave: Callable[[], object]) -> Generator[None]:
        """In the block the first signal sets `asked`, and the second calls `leave` and ends the process."""
        self._loop, self._leave = loop, leave
        try:
            yield
        finally:
            self._loop = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._loop is None:
            raise KeyboardInterrupt
        # Through the loop, which sleeps in its selector and would not see a mere flag.
        self._loop.call_soon_threadsafe(self._ask)

    def _ask(self) -> None:
        if self.asked.is_set() and self._leave is not None:
            self._leave()
            os._exit(INTERRUPTED)
        self.asked.set()
