"""Every error of this library.

::

    VBCError
    ├── ConfigurationError (also ValueError)
    ├── SessionClosedError (also RuntimeError)
    ├── StoreError
    │   └── StoreRefusedError
    ├── TokenError                      .retry_at
    │   ├── CredentialsRejectedError
    │   ├── MintQuotaExhaustedError
    │   └── TokenEndpointError
    ├── InvalidRecordError (also ValueError)    .problems
    ├── UnknownOutcomeError             .records .status
    ├── PartlyDoneError                 .done .failed .unsent
    ├── StillPendingError (also TimeoutError)   .done .pending
    └── APIError                        .status .slug .message .field .retry_after
        ├── BadRequestError
        │   └── NumbersRefusedError     .result
        ├── NotDeliveredError           .reason
        └── UnauthorizedError ForbiddenError NotFoundError RateLimitedError ServerError

None of them carries a header, a token or an API key, and each says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

_MOST_SHOWN = 20


class VBCError(Exception):
    """The root: ``except VBCError`` catches everything that this library raises by itself."""


class ConfigurationError(VBCError, ValueError):
    """A setting is missing or wrong. Raised before anything is sent; correct the setting that it names."""


class SessionClosedError(VBCError, RuntimeError):
    """The session is not open here: not entered yet, closed, or opened on another event loop."""


class StoreError(VBCError):
    """The shared token store could not be read or written, or must not be used as it is."""


class StoreRefusedError(StoreError):
    """The store is open to others, or to the wrong ones. It is no outage, so callers hear of it; mend what it names."""


class TokenError(VBCError):
    """No usable token could be had.

    Attributes:
        retry_at: the aware time before which asking again gives this same error without any network call;
            None when waiting alone will not help.
    """

    def __init__(self, message: str, *, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class CredentialsRejectedError(TokenError):
    """The server refused the account ID, key ID or API key (API reference, "Authentication").

    Check the three values in the console under Manage API Keys. Attempts rest until `retry_at`.
    """


class MintQuotaExhaustedError(TokenError):
    """All 10 tokens per 30 minutes are spent (API reference, "Rate limits"). `retry_at` says when one is free."""


class TokenEndpointError(TokenError):
    """The token endpoint was unreachable, too slow, failed, or answered something that is no token.

    Nothing needs to be done: the next call after `retry_at` tries again.
    """


@attrs.frozen
class Problem:
    """One thing that is wrong with one field of one record.

    Attributes:
        field: its name on the wire, or ``""`` where the record as a whole is meant.
        text: what is wrong, and what to do.
        position: the record's place in what was given, counted from 0; None for a record by itself.
        receiver: the record's receiver number as it was given, so that a person can find it.
    """

    field: str
    text: str
    position: int | None = None
    receiver: str = ""

    def __str__(self) -> str:
        where = "record" if self.position is None else f"record {self.position}"
        if self.receiver:
            where += f" (to {self.receiver})"
        return f"{where}: {self.field}: {self.text}" if self.field else f"{where}: {self.text}"


class InvalidRecordError(VBCError, ValueError):
    """Records that the API would refuse. Nothing was sent; correct the fields that it names.

    Attributes:
        problems: every `Problem` of every record.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        more = len(self.problems) - _MOST_SHOWN
        shown = [str(problem) for problem in self.problems[:_MOST_SHOWN]]
        return "; ".join([*shown, f"and {more} more, see .problems"] if more > 0 else shown)


class UnknownOutcomeError(VBCError):
    """The request left, and its answer was lost or says nothing: it may have been done or not.

    It is not repeated by itself, since there is no key by which the server would know it again (API reference,
    "Global conventions"). Look whether it was done, or send `records` again if doing it twice does no harm.

    Attributes:
        records: everything that the request carried.
        status: of the answer, or None where there was none.
    """

    def __init__(self, message: str, *, records: Sequence[Any] = (), status: int | None = None) -> None:
        super().__init__(message)
        self.records = tuple(records)
        self.status = status


class PartlyDoneError(VBCError):
    """A list of numbers that takes several requests was done in part; ``__cause__`` says what stopped it.

    Attributes:
        done: the merged result of the requests that were answered.
        failed: the numbers of the request that failed; whether it was done is up to ``__cause__``.
        unsent: the numbers that were not sent.
    """

    def __init__(
        self, message: str, *, done: Any = None, failed: Sequence[str] = (), unsent: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.done = done
        self.failed = tuple(failed)
        self.unsent = tuple(unsent)


class StillPendingError(VBCError, TimeoutError):
    """What was waited for did not come about in time. It may later: ask again.

    Attributes:
        done: what has come about, in the words of the call that waited.
        pending: what has not.
    """

    def __init__(self, message: str, *, done: Any = None, pending: Any = None) -> None:
        super().__init__(message)
        self.done = done
        self.pending = pending


class APIError(VBCError):
    """The API answered a typed call with an error (API reference, "Error envelopes seen").

    Attributes:
        status: the HTTP status of the answer.
        slug: the server's error slug, such as ``forbidden-error``, or None.
        message: the server's words, or None.
        field: the request field that the server complains about, or None.
        retry_after: seconds to wait as told by the server, or None.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int,
        slug: str | None = None,
        message: str | None = None,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.slug = slug
        self.message = message
        self.field = field
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        return _revive, (type(self), self.args, self.__dict__)


class BadRequestError(APIError):
    """The request was refused as invalid; `field` and `message` say what to correct."""


class NumbersRefusedError(BadRequestError):
    """None of the numbers was taken (API reference, "List Number" and "DeList Number", status ``failed``).

    Attributes:
        result: the buckets that say why, a `NumbersResult`.
    """

    result: Any = None


class NotDeliveredError(APIError):
    """The record was understood, and cannot reach this receiver (API reference, "Call Personalisation Errors").

    Attributes:
        reason: a `FailureReason`; only ``FAILED_TO_PUSH`` may go away by itself.
    """

    reason: Any = None


class UnauthorizedError(APIError):
    """A fresh token was refused: check that the account ID belongs to the API key."""


class ForbiddenError(APIError):
    """The API key lacks the feature; ask the account's admin to grant it to this key."""


class NotFoundError(APIError):
    """The resource does not exist in this account."""


class RateLimitedError(APIError):
    """Too many requests for one token; `retry_after` may say how long to wait."""


class ServerError(APIError):
    """The server failed, or answered something that is not documented; the same request may succeed later."""


def _revive(cls: type[APIError], args: tuple[object, ...], state: dict[str, object]) -> APIError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
