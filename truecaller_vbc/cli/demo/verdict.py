"""Was anybody without a token, and did the quota hold?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from ...sandbox import Sandbox
from .options import RULES
from .tally import Tally


@attrs.frozen(kw_only=True)
class Verdict:
    """The end of the play, in figures."""

    calls: int
    lost_connections: int
    want_of_token: int
    unexpected: int
    died: int
    mints: int
    refused_for_quota: int
    most_in_window: int
    p50_ms: float | None
    p99_ms: float | None
    cut_short: str | None

    @property
    def reasons(self) -> list[str]:
        """Why it went wrong; empty if it did not."""
        reasons = {
            "no call was answered": not self.calls,
            f"{self.want_of_token} calls failed for want of a token": self.want_of_token,
            f"{self.unexpected} calls had an answer that nobody expects": self.unexpected,
            f"{self.died} processes with callers died": self.died,
            f"the server refused {self.refused_for_quota} mints for quota": self.refused_for_quota,
            f"{self.most_in_window} mints in one window": self.most_in_window > RULES.max_mints,
            f"{self.cut_short}": self.cut_short,
        }
        return [reason for reason, holds in reasons.items() if holds]

    def __str__(self) -> str:
        if self.reasons:
            return f"FAILED: {'; '.join(self.reasons)}."
        return (
            f"OK: {self.calls} calls, {self.mints} mints, at most {self.most_in_window} of {RULES.max_mints} in one "
            f"window, {self.lost_connections} lost connections made good, and no call failed for want of a token."
        )

    def facts(self) -> dict[str, Any]:
        """For machines."""
        return {"ok": not self.reasons, "reasons": self.reasons, **attrs.asdict(self)}


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
        p50_ms=tally.percentile_ms(0.5),
        p99_ms=tally.percentile_ms(0.99),
        cut_short=cut_short,
    )


def most_in_window(times: Iterable[float], window: float) -> int:
    """The most of these times that lie in any window of this length."""
    ordered = sorted(times)
    return max((sum(at - window < other <= at for other in ordered) for at in ordered), default=0)
