"""Judge whether any call failed without a token, and whether the quota held."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import attrs

from ..sandbox import ApiRules, Sandbox, SandboxRules
from ..token.policy import TokenPolicy

SCALE: Final = 1 / 1200
POLICY: Final = TokenPolicy().scaled(SCALE)
RULES: Final = SandboxRules(
    token_lifetime=POLICY.lifetime.total_seconds(),
    mint_window=POLICY.mint_window.total_seconds(),
    max_mints=POLICY.max_mints,
    # A thousand callers with one token exceed 100 calls a second: the demo is about tokens, not about rates.
    api=ApiRules(realtime_per_second=None),
)
# Five minutes of the token's sixty: about the time between the end of the outage and the token's own end.
_LAG_LIMIT: Final = 0.25
_LATENCIES_KEPT: Final = 20_000


@attrs.define(kw_only=True)
class Figures:
    """Count the calls, and judge them.

    Args:
        calls: calls that were answered.
        lost_connections: calls whose connection was lost; the caller makes them again.
        token_failures: calls that failed because there was no token, or a dead one.
        unexpected: answers with a status that the demo never provokes.
        crashed: whether an exception ended the callers.
        mints: tokens that the server granted.
        refused_for_quota: mints that it refused with 429.
        most_in_window: most mints in one window.
        refused_in_outage: mints that it refused with 503.
        unlogged: token requests that the server's log no longer has, so that their windows cannot be counted.
        loop_lag: the longest delay of the event loop, in seconds.
        cut_short: why the scenario did not reach its end, or None.
        latencies: of the latest calls, in seconds.
    """

    calls: int = 0
    lost_connections: int = 0
    token_failures: int = 0
    unexpected: int = 0
    crashed: bool = False
    mints: int = 0
    refused_for_quota: int = 0
    most_in_window: int = 0
    refused_in_outage: int = 0
    unlogged: int = 0
    loop_lag: float = 0.0
    cut_short: str | None = None
    latencies: deque[float] = attrs.field(factory=lambda: deque(maxlen=_LATENCIES_KEPT))

    def percentile_ms(self, share: float) -> float | None:
        """Return the latency below which this share of the latest calls lies, in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else None

    def count_mints(self, sandbox: Sandbox) -> None:
        """Take the figures of the server's log."""
        requests = [entry for entry in sandbox.log if entry.path.endswith("/token")]
        statuses = [entry.status for entry in requests]
        self.mints = sandbox.mints
        self.refused_for_quota, self.refused_in_outage = statuses.count(429), statuses.count(503)
        granted = (entry.at for entry in requests if entry.status in (200, None))
        self.most_in_window = most_in_window(granted, RULES.mint_window)
        self.unlogged = sandbox.token_requests - len(requests)

    def judge(self) -> tuple[str, list[str]]:
        """Tell whether the library kept its promises, broke one, or the run cannot tell; and why it is not ok."""
        broken = {
            f"{self.unexpected} calls had an unexpected answer": self.unexpected,
            "an exception ended the callers": self.crashed,
            f"the server refused {self.refused_for_quota} mints for quota": self.refused_for_quota,
            f"{self.most_in_window} mints in one window": self.most_in_window > RULES.max_mints,
        }
        # What a slow machine may cause.
        missed = {
            "no call was answered": not self.calls,
            f"{self.token_failures} calls failed without a token": self.token_failures,
            "the outage met no refresh": not self.refused_in_outage,
            f"{self.cut_short}": self.cut_short,
        }
        lag = f"{self.loop_lag * 1000:.0f} ms late, where 60 minutes are {RULES.token_lifetime:.0f} s"
        slow = f"this machine was too slow for so many callers ({lag}): take fewer with --callers"
        lost = f"{self.unlogged} token requests are missing in the server's log: take fewer --callers or --seconds"
        doubts = {slow: any(missed.values()) and self.loop_lag > _LAG_LIMIT, lost: self.unlogged}
        failed, unproven, late = ([reason for reason, holds in it.items() if holds] for it in (broken, doubts, missed))
        outcome = "failed" if failed else "unproven" if unproven else "failed" if late else "ok"
        return outcome, [*failed, *unproven, *late]

    @property
    def exit_code(self) -> int:
        """Return the exit code of the command."""
        return {"ok": 0, "failed": 1, "unproven": 4}[self.judge()[0]]

    def __str__(self) -> str:
        outcome, reasons = self.judge()
        if reasons:
            return f"{outcome.upper()}: {'; '.join(reasons)}."
        return (
            f"OK: {self.calls} calls, {self.mints} mints, at most {self.most_in_window} of {RULES.max_mints} in one "
            f"window, {self.lost_connections} lost connections repeated, and no call failed without a token."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for ``--json``."""
        outcome, reasons = self.judge()
        return {
            "ok": outcome == "ok",
            "verdict": outcome,
            "reasons": reasons,
            "quota_held": not (self.refused_for_quota or self.unlogged or self.most_in_window > RULES.max_mints),
            **attrs.asdict(self, filter=attrs.filters.exclude("latencies", "loop_lag")),
            "max_mints": RULES.max_mints,
            "lifetime": RULES.token_lifetime,
            "loop_lag_ms": self.loop_lag * 1000,
            "p50_ms": self.percentile_ms(0.5),
            "p99_ms": self.percentile_ms(0.99),
        }


def most_in_window(times: Iterable[float], window: float) -> int:
    """Return the largest number of these times that lie in any window of this length."""
    ordered = sorted(times)
    return max((sum(at - window < other <= at for other in ordered) for at in ordered), default=0)
