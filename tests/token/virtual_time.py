"""Provide an event loop whose time jumps to the next timer, and a clock that tests can suspend and set."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")
EPOCH: Final = 1_790_000_000.0
_GRACE: Final = 0.02


class _JumpingSelector(selectors.DefaultSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            return super().select(None)
        if self.loop.in_flight and (events := super().select(_GRACE)):
            return events  # bytes are on their way between two sockets of this loop: no reason to jump
        self.loop.virtual += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector that does not wait: if nothing is ready, time jumps to the next timer."""

    def __init__(self) -> None:
        self.virtual = 0.0
        self.in_flight = 0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.virtual


class LoopClock:
    """A clock in virtual time."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self.slept = 0.0
        self.stepped = 0.0

    def now(self) -> float:
        return self._time() + self.slept

    def wall(self) -> float:
        return EPOCH + self.now() + self.stepped

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: the loop's time stands still meanwhile."""
        self.slept += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back."""
        self.stepped += seconds


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
