"""What the demo was asked for, and the numbers that it plays with."""

from __future__ import annotations

from typing import Final

import attrs

from ...sandbox import ApiRules, SandboxRules
from ...token.policy import TokenPolicy

SCALE: Final = 1 / 1200
POLICY: Final = TokenPolicy().scaled(SCALE)
RULES: Final = SandboxRules(
    token_lifetime=POLICY.lifetime.total_seconds(),
    mint_window=POLICY.mint_window.total_seconds(),
    max_mints=POLICY.max_mints,
    # A thousand callers with one token make far more than 100 calls a second: the demo is about tokens, not pace.
    api=ApiRules(realtime_per_second=None),
)


@attrs.frozen(kw_only=True)
class DemoOptions:
    """The options of the command."""

    seconds: float = 20.0
    callers: int = 1000
    processes: int = 1
    store: str = "memory"
    as_json: bool = False
