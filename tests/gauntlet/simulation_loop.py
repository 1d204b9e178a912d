"""The loop of the virtual track: time jumps, and nothing of it depends on how fast the machine is."""

from __future__ import annotations

import asyncio
import fcntl
import selectors
import sys
import termios
from array import array
from typing import Any, Final

_GRACE: Final = 0.001
_CAN_TELL: Final = sys.platform == "linux"


class _Selector(selectors.DefaultSelector):
    loop: GauntletLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        while self._on_their_way():
            if events := super().select(_GRACE):
                return events
        if timeout is None:
            raise RuntimeError("nothing is left to wait for: every task waits for another")
        self.loop.virtual += timeout
        return []

    def _on_their_way(self) -> bool:
        """Whether bytes of this process have been sent and not yet received, both ends being here."""
        return _CAN_TELL and any(_unreceived(key.fd) for key in self.get_map().values())


def _unreceived(fd: int) -> bool:
    try:
        fcntl.ioctl(fd, termios.TIOCOUTQ, count := array("i", [0]))
    except OSError:
        return False
    return count[0] > 0


class GauntletLoop(asyncio.SelectorEventLoop):
    """Virtual time, for a world that must play the same way each time.

    What the library gives to threads (a file store's reading and writing) is done at once, on the loop: how long a
    disk takes would decide in which order things happen.

    Attributes:
        virtual: the time.
        troubles: what was told to the loop's exception handler.
    """

    def __init__(self) -> None:
        self.virtual = 0.0
        self.troubles: list[str] = []
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_exception_handler(lambda _, context: self.troubles.append(_described(context)))

    def time(self) -> float:
        return self.virtual

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


def _described(context: dict[str, Any]) -> str:
    return f"{context.get('message')}: {context.get('exception')!r}"
