"""An event loop with virtual time that does not depend on the speed of the machine."""

from __future__ import annotations

import asyncio
import fcntl
import selectors
import socket
import sys
import termios
from array import array
from collections.abc import Callable
from typing import Any, Final

from ..token.virtual_time import EPOCH
from .frozen_processes import ProcessesLoop

_GRACE: Final = 0.001
_ENDLESS: Final = float("inf")
# What is sent to a stopped process may never be received.
_PATIENCE: Final = 5.0
_CAN_TELL: Final = sys.platform == "linux"


class _Selector(selectors.DefaultSelector):
    loop: SimulationLoop

    def _ready(self, timeout: float) -> list[tuple[selectors.SelectorKey, int]]:
        return [(key, mask) for key, mask in super().select(timeout) if not self.loop.is_stopped(key)]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self._ready(0)
        if events or timeout == 0:
            return events
        patience = _PATIENCE if self.loop.stopped else _ENDLESS
        while patience > 0 and self._on_their_way():
            patience -= 1
            if events := self._ready(_GRACE):
                return events
        if timeout is None:
            raise RuntimeError("nothing is left to wait for: every task waits for another")
        self.loop.virtual += timeout
        return []

    def _on_their_way(self) -> bool:
        """Return whether bytes between two sockets of this process are still on their way."""
        return _CAN_TELL and any(_unreceived(key.fd) for key in self.get_map().values())


def _unreceived(fd: int) -> bool:
    try:
        fcntl.ioctl(fd, termios.TIOCOUTQ, count := array("i", [0]))
    except OSError:
        return False
    return count[0] > 0 and _is_connected(fd)


def _is_connected(fd: int) -> bool:
    """Return False for a socket that was reset: what it had to send is lost."""
    with socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM) as copy:
        try:
            copy.getpeername()
        except OSError:
            return False
    return True


class SimulationLoop(ProcessesLoop):
    """Event loop with virtual time, for simulations that repeat exactly.

    Work for threads, such as the reads and writes of a file store, runs at once on the loop: otherwise the speed of
    the disk would decide the order of events.

    Attributes:
        virtual: current time.
        unhandled: what the loop's exception handler received.
        slept: returns for how long the machines have slept; set by the simulation.
    """

    def __init__(self) -> None:
        self.virtual = 0.0
        self.slept: Callable[[], float] = float
        self.unhandled: list[str] = []
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_exception_handler(lambda _, context: self.unhandled.append(_described(context)))

    def time(self) -> float:
        return self.virtual

    def right_time(self) -> float:
        """Return the time that a clock would show that was never set, by which file stores forget documents."""
        return EPOCH + self.time() + self.slept()

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


def _described(context: dict[str, Any]) -> str:
    return f"{context.get('message')}: {context.get('exception')!r}"
