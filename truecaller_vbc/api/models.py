"""Define the models of the API's answers. Every field has a default, since the documents promise few of them."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Literal

import attrs

from .records import CallRecord
from .status import FailureReason, Status


@attrs.frozen
class StatusInfo:
    """Hold the state of a record (a status word and a message).

    Attributes:
        status: such as ``success``.
        message: in the server's words.
        field: of the record that is complained about.
    """

    status: Status = Status.NONE
    message: str = ""
    field: str = ""

    @property
    def reason(self) -> FailureReason | None:
        """Return why the record failed, if the message is one of the documented reasons."""
        return FailureReason.of(self.message)


@attrs.frozen
class RecordStatus:
    """Hold one record of a batch, as the server returns it (API reference, "Batch status").

    Attributes:
        id: of the record.
        caller_number: in E.164.
        receiver_number: in E.164.
        starts_at: of its window.
        ends_at: of its window.
        status_info: how it fares; see also `status`.
        created_at: when the server took it.
    """

    id: str = ""
    caller_number: str = attrs.field(default="", metadata={"number": True, "old": "caller"})
    receiver_number: str = attrs.field(default="", metadata={"number": True, "old": "receiver"})
    label_id: str = ""
    dynamic_label_name: str = attrs.field(default="", metadata={"old": "label_name"})
    dynamic_call_reason: str = attrs.field(default="", metadata={"old": "call_reason"})
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    status_info: StatusInfo = StatusInfo()
    created_at: datetime | None = None

    @property
    def status(self) -> Status:
        """Return the state of the record."""
        return self.status_info.status


@attrs.frozen
class BatchStatus:
    """Hold the progress of a batch (API reference, "Batch status").

    Attributes:
        batch_id: of the batch.
        data: its records, in the server's order, which is not promised to be yours: see `find`.
    """

    client_account_id: str = ""
    batch_id: str = ""
    data: tuple[RecordStatus, ...] = ()

    @property
    def final(self) -> bool:
        """Tell whether there are records and all are final. An undocumented status is not final."""
        return bool(self.data) and all(record.status.final for record in self.data)

    @property
    def counts(self) -> dict[Status, int]:
        """Count the records by status."""
        return dict(Counter(record.status for record in self.data))

    def find(self, record: CallRecord) -> RecordStatus | None:
        """Return the status of one of your records, found by its numbers and window; None if it is missing."""
        return next((status for status in self.data if _is_of(status, record)), None)


@attrs.frozen
class Batch:
    """Identify a batch that the server has accepted.

    Attributes:
        batch_id: an opaque text, by which its status is asked for.
        version: version of the endpoint that accepted it, which is also asked for its status.
        size: number of records.
    """

    batch_id: str
    version: Literal["v3", "v2"]
    size: int


@attrs.frozen
class PushResult:
    """Report that the server accepted a record, which cannot be looked up or changed later.

    Attributes:
        status: ``success``, or the server's own word.
        message: in the server's words.
    """

    status: Status = Status.NONE
    message: str = ""


@attrs.frozen
class Label:
    """Describe a label of the account (API reference, "Details of Dynamic Label"). Calls take a *dynamic* one.

    Attributes:
        id: value for `CallRecord.label_id`.
        label_type: ``dynamic``, or another.
    """

    id: str = ""
    name: str = ""
    logo_url: str = ""
    category: int | None = None
    sub_category: int | None = None
    label_type: str = ""
    client_account_id: str = ""
    created_by_email: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    deleted_at: datetime | None = None


@attrs.frozen
class FeatureSet:
    """Describe a feature set, in which numbers are listed (API reference, "Feature-set ID").

    Attributes:
        id: argument of `Numbers.publish` and `Numbers.delist`.
        status: only ``draft`` is documented.
    """

    id: str = ""
    name: str = ""
    description: str = ""
    status: Status = Status.NONE
    process_id: str = ""
    client_account_id: str = ""
    label_id: str = ""
    call_reason_id: str = ""
    video_caller_id: str = ""
    business_profile_id: str = ""
    call_me_back: bool | None = None
    survey: bool | None = None
    department_id: str = ""
    department_name: str = ""
    operation_id: str = ""
    calling_operation_id: str = ""
    calling_operation_name: str = ""
    process_name: str = ""
    sub_process_name: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


@attrs.frozen
class BusinessNumber:
    """Describe a number of the account (API reference, "Number details").

    Attributes:
        phone_number: in E.164.
        status: ``listed``, or another.
    """

    phone_number: str = attrs.field(default="", metadata={"number": True})
    phone_type: str = ""
    status: Status = Status.NONE
    client_account_id: str = ""
    created_by_email: str = ""
    department: str = ""
    operation: str = ""
    process: str = ""
    subprocess: str = ""
    feature_set_name: str = ""
    call_me_back: bool | None = None
    label_name: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None


def _is_of(status: RecordStatus, record: CallRecord) -> bool:
    return (
        status.receiver_number == record.receiver_number
        and status.caller_number == record.caller_number
        and _ms(status.starts_at) in (None, record.starts_at)
        and _ms(status.ends_at) in (None, record.ends_at)
    )


def _ms(stamp: datetime | None) -> int | None:
    return None if stamp is None else round(stamp.timestamp() * 1000)
