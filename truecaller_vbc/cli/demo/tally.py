"""What came of the calls."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import attrs

_REMEMBERED: Final = 20_000


@attrs.define
class Tally:
    """Counts, and the latest latencies.

    Args:
        calls: calls that were answered.
        lost_connections: calls whose connection was lost; the caller makes them again.
        want_of_token: calls that failed because there was no token, or a dead one.
        unexpected: answers that nobody expects here.
        died: processes whose callers a bug ended, or that did not come to an end themselves.
        latest: the most seconds that an event loop came late.
        latencies: seconds, of the latest calls.
    """

    calls: int = 0
    lost_connections: int = 0
    want_of_token: int = 0
    unexpected: int = 0
    died: int = 0
    latest: float = 0.0
    latencies: deque[float] = attrs.field(factory=lambda: deque(maxlen=_REMEMBERED))

    def add(self, other: dict[str, Any]) -> None:
        """Take in what another process counted since it last said so."""
        for name in ("calls", "lost_connections", "want_of_token", "unexpected"):
            setattr(self, name, getattr(self, name) + other[name])
        self.latest = max(self.latest, other["latest"])
        self.latencies.extend(other["latencies"])

    def taken(self) -> dict[str, Any]:
        """What was counted since the last time, to be taken in elsewhere."""
        counts = {**attrs.asdict(self), "latencies": list(self.latencies)}
        self.calls = self.lost_connections = self.want_of_token = self.unexpected = 0
        self.latencies.clear()
        return counts

    def percentile_ms(self, share: float) -> float | None:
        """The latency below which this share of the latest calls lies, in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else None
