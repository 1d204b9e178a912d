"""What the documents leave open about the endpoints behind the token: a switch for each."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import attrs

from .checks import label, one_of, or_none, seconds, switch, whole

Envelope: TypeAlias = Literal["E1", "E2", "E3", "E5"]
BatchPending: TypeAlias = Literal["empty", "404", "missing", "pending"]
BadRecord: TypeAlias = Literal["reject", "record"]
StatusKey: TypeAlias = Literal["status_info", "statusInfo"]
DataOrder: TypeAlias = Literal["same", "shuffled"]
TotalPageCount: TypeAlias = Literal["honest", "missing", "endless"]


@attrs.frozen(kw_only=True)
class ApiRules:
    """How the endpoints behind the token behave. All durations are seconds on the sandbox's clock.

    Args:
        realtime_per_second: how many real-time records a token may send in any second (API reference, "Rate
            limits": 100); None for no limit. Refused requests take no place, invalid ones do.
        batch_per_minute: how many batches a token may send in any 60 seconds (same place: 60); None for no limit.
        retry_after: whether a 429 says in ``Retry-After`` when there is room ("Undocumented" 6).
        envelope: the shape of errors: ``"E1"`` slug and message, ``"E2"`` flat with field, ``"E3"`` nested in
            ``status_info``, ``"E5"`` a message alone ("Error envelopes seen"). What a dead token gets has a
            switch of its own, `SandboxRules.dead_token`.
        validation_status: the status of an answer that finds fault with the input: 400, 422, or 200 with the
            error inside ("Undocumented" 9).
        outcome_status: the status of a real-time record that cannot be delivered: 200 with an error in
            ``status_info``, or 400 in the envelope (call personalisation, "B").
        batch_seconds: how long a batch is processed ("Undocumented" 11).
        batch_pending: what its status is until then: ``"empty"`` (no records), ``"404"``, ``"missing"`` (records
            without ``status_info``), or ``"pending"`` as the status of each record.
        bad_record: what one invalid record does to its batch: ``"reject"`` all of it, or fail as that ``"record"``
            alone, with "Invalid input" ("Undocumented" 10).
        status_key: the spelling of ``status_info`` ("Contradictions").
        data_order: whether a batch's records come back in the ``"same"`` order or ``"shuffled"`` ("Undocumented" 12).
        keep_batches: how many of the newest batches are remembered; older ones get 404.
        listing_seconds: how long a published number takes until it is listed ("Undocumented" 17).
        delisting_seconds: how long a delisted number stays listed.
        failed_status: the status of a publish or delist that failed altogether, 200 or 400.
        first_page: the number of the first page, 1 or 0 ("Undocumented" 16).
        page_size: how many items a page has unless ``limit`` says otherwise.
        total_page_count: ``"honest"``; ``"missing"``, without ``pagination_information``; or ``"endless"``, always one
            more page than was asked for, where the last page is repeated.
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
        """The word for what is not finished."""
        return self.unknown_status or "pending"
