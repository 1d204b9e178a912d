"""How much a window still grants. Pure: time comes as an argument, in seconds since the start."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from .rules import SandboxRules


class MintWindow(Protocol):
    """A count of mints against a limit."""

    def has_room(self, now: float) -> bool:
        """Whether one more mint is granted at `now`."""
        ...

    def note(self, now: float) -> None:
        """Count one at `now`, granted or not."""
        ...

    def free_in(self, now: float) -> float:
        """Seconds from `now` until there is room; 0 if there is."""
        ...


class SlidingWindow:
    """At most `limit` mints, or requests, in any stretch of `length` seconds; one made at t leaves at t + length."""

    def __init__(self, limit: int, length: float) -> None:
        self._length = length
        # Only the newest `limit` can fill the window, so older ones are not worth keeping.
        self._times: deque[float] = deque(maxlen=limit)

    def has_room(self, now: float) -> bool:
        """Whether one more mint is granted at `now`."""
        return len(self._times) != self._times.maxlen or self._times[0] + self._length <= now

    def note(self, now: float) -> None:
        """Count one at `now`, granted or not."""
        self._times.append(now)

    def free_in(self, now: float) -> float:
        """Seconds from `now` until there is room; 0 if there is."""
        return 0.0 if self.has_room(now) else self._times[0] + self._length - now

    def is_empty(self, now: float) -> bool:
        """Whether all that was counted has left by `now`."""
        return not self._times or self._times[-1] + self._length <= now


class FixedWindow:
    """At most `limit` mints in each of the windows 0..length, length..2*length and so on."""

    def __init__(self, limit: int, length: float) -> None:
        self._limit = limit
        self._length = length
        self._index = 0
        self._count = 0

    def has_room(self, now: float) -> bool:
        """Whether one more mint is granted at `now`."""
        return self._index != now // self._length or self._count < self._limit

    def note(self, now: float) -> None:
        """Count one at `now`, granted or not."""
        index = int(now // self._length)
        self._count = self._count + 1 if index == self._index else 1
        self._index = index

    def free_in(self, now: float) -> float:
        """Seconds from `now` until there is room; 0 if there is."""
        return 0.0 if self.has_room(now) else (self._index + 1) * self._length - now


def mint_window(rules: SandboxRules) -> MintWindow:
    """The window that `rules` ask for."""
    kind = SlidingWindow if rules.window == "sliding" else FixedWindow
    return kind(rules.max_mints, rules.mint_window)
