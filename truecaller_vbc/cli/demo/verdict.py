"""Was anybody without a token, and did the quota hold?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import attrs

from ...sandbox import Sandbox
from .options import POLICY, RULES
from .tally import Tally

# Five minutes of the token's sixty: about what is left between the end of the outage and the token's own.
_TOO_LATE_MS: Final = 250


@attrs.frozen(kw_only=True)
class Verdict:
    """The end of the play, in figures.

    Args:
        unseen: token requests that are no longer in the server's log, so that nobody can count them by windows.
        latest_ms: the most that an event loop came late.
        cut_short: what kept the play from its end, or None.
    """

    calls: int
    lost_connections: int
    want_of_token: int
    unexpected: int
    died: int
    mints: int
    refused_for_quota: int
    most_in_window: int
    refused_in_outage: int
    unseen: int
    latest_ms: float
    p50_ms: float | None
    p99_ms: float | None
    cut_short: str | None

    @property
    def _broken(self) -> list[str]:
        """What no machine is too slow for."""
        return _those(
            {
                f"{self.unexpected} calls had an answer that nobody expects": self.unexpected,
                f"{self.died} processes with callers died": self.died,
                f"the server refused {self.refused_for_quota} mints for quota": self.refused_for_quota,
                f"{self.most_in_window} mints in one window": self.most_in_window > RULES.max_mints,
            }
        )

    @property
    def _late(self) -> list[str]:
        """What a good library may miss, too, where the machine keeps it from running in time."""
        return _those(
            {
                "no call was answered": not self.calls,
                f"{self.want_of_token} calls failed for want of a token": self.want_of_token,
                "the outage met no refresh": not self.refused_in_outage,
                f"{self.cut_short}": self.cut_short,
            }
        )

    @property
    def _doubts(self) -> list[str]:
        """Why a bad end would prove nothing."""
        return _those(
            {
                f"this machine was too slow for so many callers ({self.latest_ms:.0f} ms late, where 60 minutes are "
                f"{POLICY.lifetime.total_seconds():.0f} s): take fewer with --callers": self._late
                and self.latest_ms > _TOO_LATE_MS,
                f"{self.unseen} token requests fell out of the server's log: take fewer --callers or --seconds": (
                    self.unseen
                ),
            }
        )

    @property
    def outcome(self) -> Literal["ok", "failed", "unproven"]:
        """Whether the library kept its promises, or broke one, or this cannot be told."""
        if self._broken:
            return "failed"
        if self._doubts:
            return "unproven"
        return "failed" if self._late else "ok"

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return {"ok": 0, "failed": 1, "unproven": 4}[self.outcome]

    @property
    def reasons(self) -> list[str]:
        """Why it is not ok; empty if it is."""
        return [*self._broken, *self._doubts, *self._late]

    @property
    def quota_held(self) -> bool:
        """Whether the server refused no mint, and every window was seen and had no more than are granted."""
        return not self.refused_for_quota and not self.unseen and self.most_in_window <= RULES.max_mints

    def __str__(self) -> str:
        if self.reasons:
            return f"{self.outcome.upper()}: {'; '.join(self.reasons)}."
        return (
            f"OK: {self.calls} calls, {self.mints} mints, at most {self.most_in_window} of {RULES.max_mints} in one "
            f"window, {self.lost_connections} lost connections made good, and no call failed for want of a token."
        )

    def facts(self) -> dict[str, Any]:
        """For machines."""
        judged = {"verdict": self.outcome, "reasons": self.reasons, "quota_held": self.quota_held}
        return {"ok": self.outcome == "ok", **judged, **attrs.asdict(self)}


def _those(reasons: dict[str, Any]) -> list[str]:
    return [reason for reason, holds in reasons.items() if holds]


def judge(tally: Tally, sandbox: Sandbox, cut_short: str | None) -> Verdict:
    """The verdict on what the callers counted and what the server saw."""
    tokens = [record for record in sandbox.log if record.path.endswith("/token")]
    return Verdict(
        calls=tally.calls,
        lost_connections=tally.lost_connections,
        want_of_token=tally.want_of_token,
        unexpected=tally.unexpected,
        died=tally.died,
        mints=sandbox.mints,
        refused_for_quota=sum(record.status == 429 for record in tokens),  # noqa: PLR2004
        most_in_window=most_in_window((r.at for r in tokens if r.status in (200, None)), RULES.mint_window),
        refused_in_outage=sum(record.status == 503 for record in tokens),  # noqa: PLR2004
        unseen=sandbox.token_requests - len(tokens),
        latest_ms=tally.latest * 1000,
        p50_ms=tally.percentile_ms(0.5),
        p99_ms=tally.percentile_ms(0.99),
        cut_short=cut_short,
    )


def most_in_window(times: Iterable[float], window: float) -> int:
    """The most of these times that lie in any window of this length."""
    ordered = sorted(times)
    return max((sum(at - window < other <= at for other in ordered) for at in ordered), default=0)
