"""RowParser whether any call failed without a token, and whether the quota held."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final, Literal

import attrs

from ..sandbox import Sandbox, SandboxRules
from ..token.policy import TokenPolicy

# Five minutes of the token's sixty: about the time between the end of the outage and the token's own end.
_LAG_LIMIT_MS: Final = 250
_LATENCIES_KEPT: Final = 20_000


@attrs.define
class Stats:
    """Count the calls, and keep the latest latencies.

    Args:
        calls: calls that were answered.
        lost_connections: calls whose connection was lost; the caller makes them again.
        token_failures: calls that failed because there was no token, or a dead one.
        unexpected: answers with a status that the demo never provokes.
        crashed: whether an exception ended the callers.
        loop_lag: the longest delay of the event loop, in seconds.
        latencies: of the latest calls, in seconds.
    """

    calls: int = 0
    lost_connections: int = 0
    token_failures: int = 0
    unexpected: int = 0
    crashed: bool = False
    loop_lag: float = 0.0
    latencies: deque[float] = attrs.field(factory=lambda: deque(maxlen=_LATENCIES_KEPT))

    def percentile_ms(self, share: float) -> float | None:
        """Return the latency below which this share of the latest calls lies, in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else None


@attrs.frozen(kw_only=True)
class Verdict:
    """The result of the demo, in figures.

    Args:
        crashed: whether an exception ended the callers.
        unlogged: token requests that the server's log no longer has, so that their windows cannot be counted.
        loop_lag_ms: the longest delay of the event loop.
        cut_short: why the scenario did not reach its end, or None.
    """

    calls: int
    lost_connections: int
    token_failures: int
    unexpected: int
    crashed: bool
    mints: int
    max_mints: int
    lifetime: float
    refused_for_quota: int
    most_in_window: int
    refused_in_outage: int
    unlogged: int
    loop_lag_ms: float
    p50_ms: float | None
    p99_ms: float | None
    cut_short: str | None

    @property
    def _broken_promises(self) -> list[str]:
        """List the failures that no slow machine excuses."""
        return _true_ones(
            {
                f"{self.unexpected} calls had an unexpected answer": self.unexpected,
                "an exception ended the callers": self.crashed,
                f"the server refused {self.refused_for_quota} mints for quota": self.refused_for_quota,
                f"{self.most_in_window} mints in one window": self.most_in_window > self.max_mints,
            }
        )

    @property
    def _missed(self) -> list[str]:
        """List the failures that a slow machine may cause."""
        return _true_ones(
            {
                "no call was answered": not self.calls,
                f"{self.token_failures} calls failed without a token": self.token_failures,
                "the outage met no refresh": not self.refused_in_outage,
                f"{self.cut_short}": self.cut_short,
            }
        )

    @property
    def _doubts(self) -> list[str]:
        """List the reasons why a failure would prove nothing."""
        slow = self._missed and self.loop_lag_ms > _LAG_LIMIT_MS
        return _true_ones(
            {
                f"this machine was too slow for so many callers ({self.loop_lag_ms:.0f} ms late, where 60 minutes are "
                f"{self.lifetime:.0f} s): take fewer with --callers": slow,
                f"{self.unlogged} token requests are missing in the server's log: take fewer --callers or --seconds": (
                    self.unlogged
                ),
            }
        )

    @property
    def outcome(self) -> Literal["ok", "failed", "unproven"]:
        """Tell whether the library kept its promises, broke one, or the run cannot tell."""
        if self._broken_promises:
            return "failed"
        if self._doubts:
            return "unproven"
        return "failed" if self._missed else "ok"

    @property
    def exit_code(self) -> int:
        """Return the exit code of the command."""
        return {"ok": 0, "failed": 1, "unproven": 4}[self.outcome]

    @property
    def reasons(self) -> list[str]:
        """List why the outcome is not ok; empty if it is."""
        return [*self._broken_promises, *self._doubts, *self._missed]

    @property
    def quota_held(self) -> bool:
        """Tell whether the server refused no mint, and no window had more mints than are granted."""
        return not self.refused_for_quota and not self.unlogged and self.most_in_window <= self.max_mints

    def __str__(self) -> str:
        if self.reasons:
            return f"{self.outcome.upper()}: {'; '.join(self.reasons)}."
        return (
            f"OK: {self.calls} calls, {self.mints} mints, at most {self.most_in_window} of {self.max_mints} in one "
            f"window, {self.lost_connections} lost connections repeated, and no call failed without a token."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for ``--json``."""
        judged = {"verdict": self.outcome, "reasons": self.reasons, "quota_held": self.quota_held}
        return {"ok": self.outcome == "ok", **judged, **attrs.asdict(self)}


def _true_ones(reasons: dict[str, Any]) -> list[str]:
    return [reason for reason, holds in reasons.items() if holds]


def judge(stats: Stats, sandbox: Sandbox, rules: SandboxRules, policy: TokenPolicy, cut_short: str | None) -> Verdict:
    """Return the verdict on the callers' counts and the server's log."""
    token_requests = [entry for entry in sandbox.log if entry.path.endswith("/token")]
    granted = (entry.at for entry in token_requests if entry.status in (200, None))
    return Verdict(
        calls=stats.calls,
        lost_connections=stats.lost_connections,
        token_failures=stats.token_failures,
        unexpected=stats.unexpected,
        crashed=stats.crashed,
        mints=sandbox.mints,
        max_mints=rules.max_mints,
        lifetime=policy.lifetime.total_seconds(),
        refused_for_quota=sum(entry.status == 429 for entry in token_requests),  # noqa: PLR2004
        most_in_window=most_in_window(granted, rules.mint_window),
        refused_in_outage=sum(entry.status == 503 for entry in token_requests),  # noqa: PLR2004
        unlogged=sandbox.token_requests - len(token_requests),
        loop_lag_ms=stats.loop_lag * 1000,
        p50_ms=stats.percentile_ms(0.5),
        p99_ms=stats.percentile_ms(0.99),
        cut_short=cut_short,
    )


def most_in_window(times: Iterable[float], window: float) -> int:
    """Return the largest number of these times that lie in any window of this length."""
    ordered = sorted(times)
    return max((sum(at - window < other <= at for other in ordered) for at in ordered), default=0)
