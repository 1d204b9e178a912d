"""Hold the switches for everything that the documents leave open."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import attrs

Validator: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def seconds(*, positive: bool = False, endless: bool = False) -> Validator:
    """Accept a number of seconds, at least zero, or above zero if `positive`; infinity only if `endless`."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not _is_number(value) or value < 0 or (positive and value == 0):
            wanted = "above zero" if positive else "of zero or more"
            raise ValueError(f"{field.name} must be a number of seconds {wanted}, not {value!r}")
        if value == math.inf and not endless:
            raise ValueError(f"{field.name} must be finite")

    return check


def whole(least: int, most: float = math.inf) -> Validator:
    """Accept an int from `least` to `most`."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            limit = f"of {least} or more" if most == math.inf else f"from {least} to {most}"
            raise ValueError(f"{field.name} must be an int {limit}, not {value!r}")

    return check


def or_none(check: Validator) -> Validator:
    """Accept None, or what `check` accepts."""
    return attrs.validators.optional(check)


def one_of(*choices: object) -> Validator:
    """Accept one of the given values, of the same type."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ValueError(f"{field.name} must be one of {', '.join(map(repr, choices))}, not {value!r}")

    return check


def switch(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Accept True or False only."""
    if not isinstance(value, bool):
        raise ValueError(f"{field.name} must be True or False, not {value!r}")  # noqa: TRY004 one error type for all


def label(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Accept a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field.name} must be a string that is not empty, not {value!r}")


def instance_of(kind: type) -> Validator:
    """Accept an instance of `kind`."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, kind):
            raise ValueError(f"{field.name} must be {kind.__name__}, not {value!r}")  # noqa: TRY004 one error type for all

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


Envelope: TypeAlias = Literal["E1", "E2", "E3", "E5"]
BatchPending: TypeAlias = Literal["empty", "404", "missing", "pending"]
BadRecord: TypeAlias = Literal["reject", "record"]
StatusKey: TypeAlias = Literal["status_info", "statusInfo"]
DataOrder: TypeAlias = Literal["same", "shuffled"]
TotalPageCount: TypeAlias = Literal["honest", "missing", "endless"]


@attrs.frozen(kw_only=True)
class ApiRules:
    """Set how the endpoints behind the token behave. All durations are seconds on the sandbox's clock.

    Args:
        realtime_per_second: real-time records of one token in any second (API reference, "Rate limits": 100); None for
            no limit. Refused requests do not count, invalid ones do.
        batch_per_minute: batches of one token in any 60 seconds (same place: 60); None for no limit.
        retry_after: whether a 429 says in ``Retry-After`` when there is room ("Undocumented" 6).
        envelope: shape of errors: ``"E1"`` slug and message, ``"E2"`` flat with field, ``"E3"`` nested in
            ``status_info``, ``"E5"`` a message alone ("Error envelopes seen"). The answer to an invalid token has its
            own switch, `SandboxRules.dead_token`.
        validation_status: the status of an answer that finds fault with the input: 400, 422, or 200 with the
            error inside ("Undocumented" 9).
        outcome_status: the status of a real-time record that cannot be delivered: 200 with an error in
            ``status_info``, or 400 in the envelope (call personalisation, "B").
        batch_seconds: how long a batch is processed ("Undocumented" 11).
        batch_pending: status of a batch until then: ``"empty"`` (no records), ``"404"``, ``"missing"`` (records without
            ``status_info``), or ``"pending"`` as the status of each record.
        bad_record: effect of an invalid record: ``"reject"`` the whole batch, or fail this ``"record"`` alone, with
            "Invalid input" ("Undocumented" 10).
        status_key: the spelling of ``status_info`` ("Contradictions").
        data_order: order of a batch's records in its status: ``"same"`` or ``"shuffled"`` ("Undocumented" 12).
        keep_batches: how many of the newest batches are remembered; older ones get 404.
        listing_seconds: how long a published number takes until it is listed ("Undocumented" 17).
        delisting_seconds: how long a delisted number stays listed.
        failed_status: the status of a publish or delist that failed altogether, 200 or 400.
        first_page: the number of the first page, 1 or 0 ("Undocumented" 16).
        page_size: items on a page without ``limit``.
        total_page_count: ``"honest"``; ``"missing"``, without ``pagination_information``; or ``"endless"``, always one
            more page than was asked for, with the last page repeated.
        sparse: whether empty arrays and dispensable fields are missing or null ("Undocumented" 18).
        unknown_status: a string in place of every ``"pending"`` ("Undocumented" 19).

    Raises:
        ValueError: a value is out of range; the message begins with the field's name.
    """

    realtime_per_second: int | None = attrs.field(default=100, validator=or_none(whole(1)))
    batch_per_minute: int | None = attrs.field(default=60, validator=or_none(whole(1)))
    retry_after: bool = attrs.field(default=False, validator=switch)
    envelope: Envelope = attrs.field(default="E1", validator=one_of(*get_args(Envelope)))
    validation_status: Literal[400, 422, 200] = attrs.field(default=400, validator=one_of(400, 422, 200))
    outcome_status: Literal[200, 400] = attrs.field(default=200, validator=one_of(200, 400))
    batch_seconds: float = attrs.field(default=0.0, validator=seconds())
    batch_pending: BatchPending = attrs.field(default="empty", validator=one_of(*get_args(BatchPending)))
    bad_record: BadRecord = attrs.field(default="reject", validator=one_of(*get_args(BadRecord)))
    status_key: StatusKey = attrs.field(default="status_info", validator=one_of(*get_args(StatusKey)))
    data_order: DataOrder = attrs.field(default="same", validator=one_of(*get_args(DataOrder)))
    keep_batches: int = attrs.field(default=1000, validator=whole(1))
    listing_seconds: float = attrs.field(default=0.0, validator=seconds())
    delisting_seconds: float = attrs.field(default=0.0, validator=seconds())
    failed_status: Literal[200, 400] = attrs.field(default=200, validator=one_of(200, 400))
    first_page: Literal[1, 0] = attrs.field(default=1, validator=one_of(1, 0))
    page_size: int = attrs.field(default=1000, validator=whole(1))
    total_page_count: TotalPageCount = attrs.field(default="honest", validator=one_of(*get_args(TotalPageCount)))
    sparse: bool = attrs.field(default=False, validator=switch)
    unknown_status: str | None = attrs.field(default=None, validator=or_none(label))

    @property
    def pending(self) -> str:
        """Return the status word of unfinished records."""
        return self.unknown_status or "pending"


Window: TypeAlias = Literal["sliding", "fixed"]
OverQuota: TypeAlias = Literal["429", "429-retry-after", "400", "403"]
DeadToken: TypeAlias = Literal["401", "500", "401-flat"]
CreatedAt: TypeAlias = Literal["iso", "garbage", "missing"]
RejectedStatus: TypeAlias = Literal[400, 401, 403, 404]


@attrs.frozen(kw_only=True)
class SandboxRules:
    """Set how a `Sandbox` behaves. The defaults are the documented rules; all durations are seconds.

    Args:
        token_lifetime: how long a token is good after it was made (API reference, "Rate limits": 60 minutes).
        max_mints: tokens granted in one window (same place: 10).
        mint_window: the length of that window (same place: 30 minutes).
        window: ``"sliding"``, or ``"fixed"`` with windows aligned to the sandbox's start. The documents do
            not say (API reference, "Undocumented" 2).
        over_quota: answer to a mint beyond the window: ``"429"``, ``"429-retry-after"`` (with a ``Retry-After`` of
            whole seconds), ``"400"`` or ``"403"`` ("Undocumented" 3).
        count_failed: whether refused token requests take a place in the window too ("Undocumented" 2).
        revoke_previous: whether a new token ends the older ones at once ("Undocumented" 1).
        dead_token: answer to an invalid token: ``"401"`` with slug ``authorization-error``, ``"500"`` with ``500/50011
            - Failed to parse token``, or ``"401-flat"``, the E2 shape ("Undocumented" 4).
        reuse_token: whether the token endpoint hands out the newest live token again, with its first
            ``created_at`` and without a mint.
        reuse_until: hand out a token again only while it has more than this left.
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
