"""Which numbers are listed, and when. Pure: time comes as an argument, in seconds since the start.

Where the documents are silent: a number that is still being listed counts as existing when it is published again, and
as processing when it is delisted, and neither changes anything; a number is known to one feature set at a time;
repeated numbers of one request count once; a publish succeeds if any number is new or existing, a delist if any is
existing or processing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import attrs

from .api_rules import ApiRules
from .record_rules import NO_PLUS

Buckets: TypeAlias = dict[str, list[str]]


@attrs.define
class KnownNumber:
    """A number that was published: when, and from when until when it is listed."""

    digits: str
    feature_set_id: str
    published_at: float
    listed_at: float
    gone_at: float = math.inf

    def is_listed(self, now: float) -> bool:
        """Whether it is listed at `now`; also while it is being delisted."""
        return self.listed_at <= now < self.gone_at


class NumberBook:
    """The numbers of the account."""

    def __init__(self, rules: ApiRules) -> None:
        self._rules = rules
        self._numbers: dict[str, KnownNumber] = {}

    def publish(self, feature_set_id: str, numbers: Iterable[str], now: float) -> Buckets:
        """Begin to list those that are new; the answer's buckets."""
        buckets: Buckets = {}
        for number in dict.fromkeys(numbers):
            buckets.setdefault(self._publish(feature_set_id, number, now), []).append(number)
        return buckets

    def delist(self, feature_set_id: str, numbers: Iterable[str], now: float) -> Buckets:
        """Begin to delist those that are known to the set; the answer's buckets."""
        buckets: Buckets = {}
        for number in dict.fromkeys(numbers):
            buckets.setdefault(self._delist(feature_set_id, number, now), []).append(number)
        return buckets

    def listed(self, now: float) -> Iterator[KnownNumber]:
        """Those that are listed at `now`, in the order in which they were published."""
        return (known for known in self._numbers.values() if known.is_listed(now))

    def _publish(self, feature_set_id: str, number: str, now: float) -> str:
        if not NO_PLUS.fullmatch(number):
            return "invalid_numbers"
        known = self._known(number, now)
        if known is None:
            self._numbers[number] = KnownNumber(number, feature_set_id, now, now + self._rules.listing_seconds)
        elif known.gone_at < math.inf:
            pass  # Documented: while a number is being delisted, this is ignored, and the answer does not show it.
        else:
            return "existing_numbers" if known.feature_set_id == feature_set_id else "other_feature_set_numbers"
        return "new_numbers"

    def _delist(self, feature_set_id: str, number: str, now: float) -> str:
        if not NO_PLUS.fullmatch(number):
            return "invalid_numbers"
        known = self._known(number, now)
        if known is None:
            return "new_numbers"
        if known.feature_set_id != feature_set_id:
            return "other_feature_set_numbers"
        if known.gone_at < math.inf or not known.is_listed(now):
            return "processing_numbers"
        known.gone_at = now + self._rules.delisting_seconds
        return "existing_numbers"

    def _known(self, number: str, now: float) -> KnownNumber | None:
        known = self._numbers.get(number)
        if known is not None and known.gone_at <= now:
            del self._numbers[number]
            return None
        return known
