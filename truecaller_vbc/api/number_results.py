"""Read what happened to each number of a list from the API's buckets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from ..secret import mask_set_repr
from ..serialization import Serializable
from .models import Status
from .wire import as_e164, camel_case, spelled

Operation: TypeAlias = Literal["publish", "delist"]

_SAME: Final = {
    "processing_numbers": "processing",
    "other_feature_set_numbers": "in_other_set",
    "other_phonetype_numbers": "of_other_type",
    "others_numbers": "of_others",
    "invalid_numbers": "invalid",
    "migrated_numbers": "migrated",
    "updated_numbers": "updated",
    "delisted_numbers": "delisted",
}
# Publishing a listed number, or delisting an unlisted one, changes nothing.
_BUCKETS: Final[Mapping[Operation, Mapping[str, str]]] = {
    "publish": {"new_numbers": "accepted", "existing_numbers": "already_listed", **_SAME},
    "delist": {"existing_numbers": "accepted", "new_numbers": "not_listed", **_SAME},
}


_TAKEN: Final = frozenset({Status.PENDING, Status.SUCCESS})


@attrs.frozen
class NumbersResult(Serializable):
    """Report what happened to each number, in E.164 (API reference, "List Number" and "DeList Number").

    Listing and delisting are done later: `Numbers.wait_until_listed` waits.

    Attributes:
        accepted: will be listed, or delisted.
        already_listed: publish only: already listed in this set.
        not_listed: delist only: this set does not have them.
        processing: something else is being done with them.
        in_other_set: listed in another feature set.
        of_other_type: registered under another phone type.
        of_others: owned by another account.
        invalid: not a number, according to the API.
        migrated: moved here from somewhere else.
        updated: changed.
        delisted: taken off.
        unmentioned: missing in the answer, or the request failed as a whole. (The API also silently ignores a number
            that is still being delisted: publish it again later.)
        status: of the whole, ``pending`` or ``failed``.
    """

    accepted: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    already_listed: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    not_listed: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    processing: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    in_other_set: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    of_other_type: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    of_others: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    invalid: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    migrated: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    updated: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    delisted: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    unmentioned: frozenset[str] = attrs.field(default=frozenset(), repr=mask_set_repr)
    status: Status = Status.NONE

    @property
    def not_done(self) -> frozenset[str]:
        """Return the numbers whose state will not be the requested one."""
        return self.in_other_set | self.of_other_type | self.of_others | self.invalid | self.unmentioned

    def __str__(self) -> str:
        sets = [(field.name, getattr(self, field.name)) for field in attrs.fields(NumbersResult)]
        return ", ".join(f"{len(value)} {name}" for name, value in sets if name != "status" and value) or "none"


def read_number_result(operation: Operation, answer: Mapping[str, Any], sent: Iterable[str]) -> NumbersResult:
    """Read the result in an answer. Every array may be missing or null, and a number may be in none of them."""
    found = {name: _numbers(spelled(answer, bucket)) for bucket, name in _BUCKETS[operation].items()}
    status = _status(answer)
    if status is Status.FAILED:
        # This bucket lists what could be done; if the whole request failed, it was not done.
        found["accepted"] = frozenset()
    unmentioned = frozenset(sent).difference(*found.values())
    return NumbersResult(**found, unmentioned=unmentioned, status=status)


def is_refusal(answer: Any) -> bool:
    """Tell whether an answer is the documented refusal (status ``failed`` with buckets)."""
    if not isinstance(answer, dict):
        return False
    fields = cast(dict[str, Any], answer)
    return _status(fields) is Status.FAILED and any(isinstance(value, list | NoneType) for value in _buckets(fields))


def is_result(answer: Any) -> bool:
    """Tell whether an answer is a documented result: it has buckets, or its status is a documented word."""
    if not isinstance(answer, dict):
        return False
    fields = cast(dict[str, Any], answer)
    has_bucket = any(isinstance(value, list) for value in _buckets(fields))
    return has_bucket or _status(fields) in _TAKEN or is_refusal(answer)


def _buckets(fields: Mapping[str, Any]) -> list[Any]:
    names = (name for bucket in _BUCKETS["publish"] for name in (bucket, camel_case(bucket)))
    return [fields[name] for name in names if name in fields]


def merge_results(results: Iterable[NumbersResult]) -> NumbersResult:
    """Combine the results of several requests; the status is ``failed`` only if all failed."""
    several = list(results)
    if not several:
        return NumbersResult()
    names = [field.name for field in attrs.fields(NumbersResult) if field.name != "status"]
    sets = {name: frozenset[str]().union(*(getattr(result, name) for result in several)) for name in names}
    status = next((result.status for result in several if result.status is not Status.FAILED), Status.FAILED)
    return NumbersResult(**sets, status=status)


def _status(answer: Mapping[str, Any]) -> Status:
    status = answer.get("status")
    return Status(status if isinstance(status, str) else "")


def _numbers(bucket: object) -> frozenset[str]:
    if not isinstance(bucket, list):
        return frozenset()
    entries = cast(list[object], bucket)
    return frozenset(as_e164(str(entry)) for entry in entries if isinstance(entry, str) or type(entry) is int)
