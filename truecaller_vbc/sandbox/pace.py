"""How many requests a token may still make. Pure: time comes as an argument, in seconds since the start."""

from __future__ import annotations

from .quota import SlidingWindow


class Pace:
    """At most `limit` requests of one token in any stretch of `seconds`; no limit if it is None."""

    def __init__(self, limit: int | None, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._windows: dict[str, SlidingWindow] = {}

    def wait(self, token: str, now: float) -> float:
        """Take a place at `now` and return 0, or if there is none, return the seconds until there is."""
        if self._limit is None:
            return 0.0
        window = self._windows.get(token) or self._new_window(token, now, self._limit)
        free_in = window.free_in(now)
        if free_in == 0:
            window.note(now)
        return free_in

    def _new_window(self, token: str, now: float, limit: int) -> SlidingWindow:
        # Tokens end and new ones come, so the idle ones go whenever one comes.
        self._windows = {name: window for name, window in self._windows.items() if not window.is_empty(now)}
        self._windows[token] = window = SlidingWindow(limit, self._seconds)
        return window
