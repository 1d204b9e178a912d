"""Define the models of the API's answers and its status words. Every field has a default."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, Self

import attrs

from ..secret import mask_repr
from ..serialization import Serializable
from .records import CallRecord


class OpenEnum(StrEnum):
    """Keep unknown values, so that ``Status("odd")`` is a member with that value."""

    @classmethod
    def _missing_(cls, value: object) -> Any:
        if not isinstance(value, str):
            return None
        known = next((member for member in cls if member.value == value.strip().lower()), None)
        if known is not None:
            return known
        member = str.__new__(cls, value)
        member._name_ = "UNKNOWN"
        member._value_ = value
        return member

    @property
    def known(self) -> bool:
        """Tell whether it is one of the documented words."""
        return self._name_ != "UNKNOWN"


class Status(OpenEnum):
    """Name the state of a record, a number or a feature set (API reference, "Status strings")."""

    SUCCESS = "success"
    ERROR = "error"
    FAILED = "failed"
    PENDING = "pending"
    LISTED = "listed"
    DRAFT = "draft"
    NONE = ""

    @property
    def final(self) -> bool:
        """Tell whether the state can no longer change. An undocumented word is not final."""
        return self in _FINAL


_FINAL: Final = frozenset({Status.SUCCESS, Status.ERROR, Status.FAILED})


class FailureReason(StrEnum):
    """Name why a record did not reach its receiver (API reference, "Call Personalisation Errors")."""

    INVALID_INPUT = "Invalid input"
    NOT_A_TRUECALLER_USER = "Not a Truecaller user"
    OS_NOT_SUPPORTED = "OS not supported"
    APP_VERSION_NOT_SUPPORTED = "App version not supported"
    FAILED_TO_PUSH = "Failed to push"

    @property
    def may_pass(self) -> bool:
        """Tell whether a retry within the record's window makes sense, since the device was only out of reach."""
        return self is FailureReason.FAILED_TO_PUSH

    @classmethod
    def of(cls, message: str | None) -> Self | None:
        """Return the reason that a message names, ignoring case and spacing; None for other messages."""
        words = _letters(message or "")
        return next((reason for reason in cls if words.startswith(_letters(reason.value))), None)


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text).strip().lower()


@attrs.frozen
class StatusInfo(Serializable):
    """Hold the state of a record (a status word and a message).

    Attributes:
        status: such as ``success``.
        message: in the server's words.
        field: the record field that the message is about.
    """

    status: Status = Status.NONE
    message: str = ""
    field: str = ""

    @property
    def reason(self) -> FailureReason | None:
        """Return why the record failed, if the message is one of the documented reasons."""
        return FailureReason.of(self.message)


@attrs.frozen
class RecordStatus(Serializable):
    """Hold one record of a batch, as the server returns it (API reference, "Batch status").

    Attributes:
        id: ID of the record.
        caller_number: in E.164.
        receiver_number: in E.164.
        starts_at: begin of its window.
        ends_at: end of its window.
        status_info: state of the record; see also `status`.
        created_at: when the server took it.
    """

    id: str = ""
    caller_number: str = attrs.field(default="", metadata={"number": True, "old": "caller"}, repr=mask_repr)
    receiver_number: str = attrs.field(default="", metadata={"number": True, "old": "receiver"}, repr=mask_repr)
    label_id: str = ""
    dynamic_label_name: str = attrs.field(default="", metadata={"old": "label_name"})
    dynamic_call_reason: str = attrs.field(default="", metadata={"old": "call_reason"})
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    # In v1 the status is a field of the record itself.
    status_info: StatusInfo = attrs.field(default=StatusInfo(), metadata={"flat": True})
    created_at: datetime | None = None

    @property
    def status(self) -> Status:
        """Return the state of the record."""
        return self.status_info.status


@attrs.frozen
class BatchStatus(Serializable):
    """Hold the progress of a batch (API reference, "Batch status").

    Attributes:
        batch_id: ID of the batch.
        data: its records, in the server's order, which is not promised to be yours: see `find` and `match`.
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
        return self.match([record])[0]

    def match(self, records: Iterable[CallRecord]) -> list[RecordStatus | None]:
        """Return the status of each of your records; None for those that are missing.

        The server may leave out the plus of a number, or a whole field. Equal records get one status each.
        """
        by_receiver: dict[str, list[RecordStatus]] = {}
        for status in self.data:
            by_receiver.setdefault(_digits(status.receiver_number), []).append(status)
        found: list[RecordStatus | None] = []
        for record in records:
            candidates = by_receiver.get(_digits(record.receiver_number), [])
            found.append(next((it for it in candidates if _is_of(it, record)), None))
            if found[-1] is not None:
                candidates.remove(found[-1])
        return found


@attrs.frozen
class Batch(Serializable):
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
class PushResult(Serializable):
    """Report that the server accepted a record, which cannot be looked up or changed later.

    Attributes:
        status: ``success``.
        message: in the server's words.
    """

    status: Status = Status.NONE
    message: str = ""


@attrs.frozen
class Label(Serializable):
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
class FeatureSet(Serializable):
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
class BusinessNumber(Serializable):
    """Describe a number of the account (API reference, "Number details").

    Attributes:
        phone_number: in E.164.
        status: ``listed``, or another.
    """

    phone_number: str = attrs.field(default="", metadata={"number": True}, repr=mask_repr)
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
        _digits(status.caller_number) in ("", _digits(record.caller_number))
        and _ms(status.starts_at) in (None, record.starts_at)
        and _ms(status.ends_at) in (None, record.ends_at)
    )


def _digits(number: str) -> str:
    return number.lstrip("+")


def _ms(stamp: datetime | None) -> int | None:
    return None if stamp is None else round(stamp.timestamp() * 1000)
