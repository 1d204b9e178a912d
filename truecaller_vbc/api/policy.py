"""Define every number of the typed API calls."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs
from typing_extensions import TypedDict

from ..durations import check_positive, duration, optional_duration, scaled
from ..errors import ConfigurationError

_MAY_BE_ZERO: Final = ("patience", "max_wait")


class CallOptions(TypedDict, total=False, closed=True):
    """Name the numbers of `APIPolicy` that each typed call takes for itself."""

    timeout: float | timedelta
    attempts: int


@attrs.frozen(kw_only=True)
class APIPolicy:
    """Set how fast typed calls are sent and how often they are repeated. Durations are timedeltas or seconds.

    The rates are those of one token (API reference, "Rate limits and size limits"), shared by all coroutines of a
    session. Processes that share a token share its rates too, but do not see each other: divide the rates among them.

    Args:
        realtime_rate: real-time records in one `realtime_window`; None for no limit. 100.
        realtime_window: 1 s.
        batch_rate: batches in one `batch_window`; None for no limit. 60.
        batch_window: 1 min.
        attempts: how often a call is sent at most, if it may be repeated at all; a 429 does not count. 4.
        retry_first: the first wait before it is repeated, doubled each time, with jitter. 0.5 s.
        retry_most: the longest such wait. 8 s.
        patience: how long after its first failure a call may still be repeated; a ``Retry-After`` beyond it is
            not waited for. 60 s.
        timeout: time limit of one attempt, from the request to the end of the answer. 30 s.
        max_wait: how long a call may wait for its turn under the rates before it fails with `PaceExceededError`; None
            for as long as it takes. It does not apply to `Calls.push_all`. None.
        poll_first: the first wait between two looks at something that the server does later. 1 s.
        poll_most: the longest such wait. 30 s.

    Raises:
        ConfigurationError: a value is of the wrong type or the values contradict each other.
    """

    realtime_rate: int | None = 100
    realtime_window: timedelta = attrs.field(default=timedelta(seconds=1), converter=duration)
    batch_rate: int | None = 60
    batch_window: timedelta = attrs.field(default=timedelta(minutes=1), converter=duration)
    attempts: int = 4
    retry_first: timedelta = attrs.field(default=timedelta(seconds=0.5), converter=duration)
    retry_most: timedelta = attrs.field(default=timedelta(seconds=8), converter=duration)
    patience: timedelta = attrs.field(default=timedelta(seconds=60), converter=duration)
    timeout: timedelta = attrs.field(default=timedelta(seconds=30), converter=duration)
    max_wait: timedelta | None = attrs.field(default=None, converter=optional_duration)
    poll_first: timedelta = attrs.field(default=timedelta(seconds=1), converter=duration)
    poll_most: timedelta = attrs.field(default=timedelta(seconds=30), converter=duration)

    def __attrs_post_init__(self) -> None:
        for name in ("realtime_rate", "batch_rate", "attempts"):
            value = getattr(self, name)
            if value is None and name != "attempts":
                continue
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"APIPolicy({name}=...) must be an int of 1 or more")
        check_positive(self, _MAY_BE_ZERO)
        if self.retry_first > self.retry_most:
            raise ConfigurationError("APIPolicy needs retry_first <= retry_most")
        if self.poll_first > self.poll_most:
            raise ConfigurationError("APIPolicy needs poll_first <= poll_most")

    def scaled(self, factor: float) -> APIPolicy:
        """Return the policy with every duration but `timeout` multiplied by `factor`, for demos and tests.

        Raises:
            ConfigurationError: `factor` is not a positive finite number.
        """
        return attrs.evolve(scaled(self, factor), timeout=self.timeout)
