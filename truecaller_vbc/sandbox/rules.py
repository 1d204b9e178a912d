"""Every rule that the sandbox enforces, and a switch for each thing that the documents leave open."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from .api_rules import ApiRules
from .checks import instance_of, one_of, seconds, switch, whole

Window: TypeAlias = Literal["sliding", "fixed"]
OverQuota: TypeAlias = Literal["429", "429-retry-after", "400", "403"]
DeadToken: TypeAlias = Literal["401", "500", "401-flat"]
CreatedAt: TypeAlias = Literal["iso", "garbage", "missing"]
RejectedStatus: TypeAlias = Literal[400, 401, 403, 404]


@attrs.frozen(kw_only=True)
class SandboxRules:
    """How a `Sandbox` behaves. The defaults are the documented rules; all durations are seconds.

    Args:
        token_lifetime: how long a token is good after it was made (API reference, "Rate limits": 60 minutes).
        max_mints: how many tokens one window grants (same place: 10).
        mint_window: the length of that window (same place: 30 minutes).
        window: ``"sliding"``, or ``"fixed"`` with windows aligned to the sandbox's start. The documents do
            not say (API reference, "Undocumented" 2).
        over_quota: what a mint beyond the window gets: ``"429"``, ``"429-retry-after"`` (with a
            ``Retry-After`` of whole seconds), ``"400"`` or ``"403"`` ("Undocumented" 3).
        count_failed: whether refused token requests take a place in the window too ("Undocumented" 2).
        revoke_previous: whether a new token ends the older ones at once ("Undocumented" 1).
        dead_token: what a token that is not good gets: ``"401"`` with slug ``authorization-error``,
            ``"500"`` with ``500/50011 - Failed to parse token``, or ``"401-flat"``, the E2 shape
            ("Undocumented" 4).
        reuse_token: whether the token endpoint hands out the newest live token again, with its first
            ``created_at`` and without a mint.
        reuse_until: a token is only handed out again while it has more than this left.
        rejected_credentials: the status for a wrong account ID, key ID or API key: 400, 401, 403 or 404.
        latency: the wait before every answer, on the event loop's own clock.
        token_latency: a further wait of the token endpoint.
        date_header: whether answers have a ``Date`` header.
        created_at: ``"iso"`` as documented, ``"garbage"``, or ``"missing"``.
        require_public_access: whether the token endpoint insists on ``X-Public-Access: allow`` (required in
            the newer documents, optional in older ones).
        api: how the endpoints behind the token behave.

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.
    """

    token_lifetime: float = attrs.field(default=3600.0, validator=seconds(positive=True))
    max_mints: int = attrs.field(default=10, validator=whole(1))
    mint_window: float = attrs.field(default=1800.0, validator=seconds(positive=True))
    window: Window = attrs.field(default="sliding", validator=one_of("sliding", "fixed"))
    over_quota: OverQuota = attrs.field(default="429", validator=one_of("429", "429-retry-after", "400", "403"))
    count_failed: bool = attrs.field(default=False, validator=switch)
    revoke_previous: bool = attrs.field(default=False, validator=switch)
    dead_token: DeadToken = attrs.field(default="401", validator=one_of("401", "500", "401-flat"))
    reuse_token: bool = attrs.field(default=False, validator=switch)
    reuse_until: float = attrs.field(default=0.0, validator=seconds())
    rejected_credentials: RejectedStatus = attrs.field(default=401, validator=one_of(400, 401, 403, 404))
    latency: float = attrs.field(default=0.0, validator=seconds())
    token_latency: float = attrs.field(default=0.0, validator=seconds())
    date_header: bool = attrs.field(default=True, validator=switch)
    created_at: CreatedAt = attrs.field(default="iso", validator=one_of("iso", "garbage", "missing"))
    require_public_access: bool = attrs.field(default=True, validator=switch)
    api: ApiRules = attrs.field(factory=ApiRules, validator=instance_of(ApiRules))
