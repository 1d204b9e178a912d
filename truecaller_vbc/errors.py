"""Define every error of this library.

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
    ├── UnknownOutcomeError             .records .status .slug .message .field
    ├── APIConnectionError (also TimeoutError where it is one)      .retryable .sent
    ├── PaceExceededError (also TimeoutError)   .waiting
    ├── PartlyDoneError                 .done .failed .unsent
    ├── StillPendingError (also TimeoutError)   .done .pending
    ├── WebhookError                    .place .event
    ├── ClaimLostError
    └── APIError                        .status .slug .message .field .retry_after
        ├── BadRequestError
        │   └── NumbersRefusedError     .result
        ├── NotDeliveredError           .reason
        └── UnauthorizedError ForbiddenError NotFoundError RateLimitedError ServerError

No error contains a header, a token or an API key, and each message says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from .secret import mask_number, mask_repr
from .serialization import Serializable

_MAX_SHOWN = 20


class VBCError(Exception):
    """The root. ``except VBCError`` catches all errors of this library."""


class ConfigurationError(VBCError, ValueError):
    """A setting is missing or wrong. Raised before anything is sent; correct the setting that it names."""


class SessionClosedError(VBCError, RuntimeError):
    """The session was not entered yet, is closed, or was opened on another event loop."""


class StoreError(VBCError):
    """The shared token store could not be read or written, or must be repaired first."""


class StoreRefusedError(StoreError):
    """The store must be repaired as the message says, for example because other users can read it."""


class TokenError(VBCError):
    """No usable token was obtained.

    Attributes:
        retry_at: aware; until then a new call raises the same error without any request. None if waiting alone does
            not help.
    """

    def __init__(self, message: str, *, retry_at: datetime | None = None) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class CredentialsRejectedError(TokenError):
    """The server refused the account ID, key ID or API key (API reference, "Authentication").

    Check the three values in the console under Manage API Keys. No attempt is made until `retry_at`.
    """


class MintQuotaExhaustedError(TokenError):
    """All 10 tokens per 30 minutes are spent (API reference, "Rate limits"). `retry_at` says when one is free."""


class TokenEndpointError(TokenError):
    """The token endpoint was unreachable, too slow, failed, or returned no token.

    No action is needed: the next call after `retry_at` tries again.
    """


@attrs.frozen
class Problem(Serializable):
    """One error in one field of one record.

    Attributes:
        field: its name on the wire, or ``""`` for the record as a whole.
        text: what is wrong, and what to do.
        position: the record's index in what was passed, from 0; None for a single record.
        receiver: the record's receiver number as it was passed, to find the record by; masked in texts and reprs.
    """

    field: str
    text: str
    position: int | None = None
    receiver: str = attrs.field(default="", repr=mask_repr)

    def __str__(self) -> str:
        where = "record" if self.position is None else f"record {self.position}"
        if self.receiver:
            where += f" (to {mask_number(self.receiver)})"
        return f"{where}: {self.field}: {self.text}" if self.field else f"{where}: {self.text}"


class InvalidRecordError(VBCError, ValueError):
    """Records that the API would reject. Nothing was sent; correct the fields that the error names.

    Attributes:
        problems: every `Problem` of every record.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(tuple(problems))
        self.problems: tuple[Problem, ...] = tuple(problems)

    def __str__(self) -> str:
        more = len(self.problems) - _MAX_SHOWN
        shown = [str(problem) for problem in self.problems[:_MAX_SHOWN]]
        return "; ".join([*shown, f"and {more} more, see .problems"] if more > 0 else shown)


class UnknownOutcomeError(VBCError):
    """The request was sent, but its answer was lost or unclear, so it may have been done or not.

    It is not repeated automatically, because the server could not recognize it (API reference, "Global
    conventions"). Check whether it was done, or send `records` again if doing it twice does no harm.

    Attributes:
        records: all records of the request.
        status: of the answer, or None without an answer.
        slug: the server's error slug, or None.
        message: the server's message, or the start of an answer that is not documented, or None.
        field: the request field that the server names, or None.
    """

    slug: str | None = None
    message: str | None = None
    field: str | None = None

    def __init__(self, message: str, *, records: Sequence[Any] = (), status: int | None = None) -> None:
        super().__init__(message)
        self.records: tuple[Any, ...] = tuple(records)
        self.status = status


class APIConnectionError(VBCError):
    """A typed call got no answer. ``__cause__`` is aiohttp's error; a timeout is a `TimeoutError` as well.

    Attributes:
        retryable: whether the same call may succeed later. False if, for example, the certificate is not trusted.
        sent: whether a part of the request may have left. (Records and numbers that must not be sent twice get an
            `UnknownOutcomeError` then.)
    """

    def __init__(self, message: str, *, retryable: bool = True, sent: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.sent = sent


class APITimeoutError(APIConnectionError, TimeoutError):
    """An `APIConnectionError` that is a `TimeoutError` as well."""


class PaceExceededError(VBCError, TimeoutError):
    """A call waited for its turn longer than `APIPolicy.max_wait`, and was not sent. Send fewer calls at a time.

    Attributes:
        waiting: how many calls were waiting for their turn, this one included.
    """

    def __init__(self, message: str, *, waiting: int = 0) -> None:
        super().__init__(message)
        self.waiting = waiting


class PartlyDoneError(VBCError):
    """A list of numbers that needs several requests was done in part; ``__cause__`` says what stopped it.

    Attributes:
        done: the merged result of the requests that were answered.
        failed: the numbers of the request that failed; ``__cause__`` says whether it may have been done.
        unsent: the numbers that were not sent.
    """

    def __init__(
        self, message: str, *, done: Any = None, failed: Sequence[str] = (), unsent: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.done = done
        self.failed: tuple[str, ...] = tuple(failed)
        self.unsent: tuple[str, ...] = tuple(unsent)


class StillPendingError(VBCError, TimeoutError):
    """A wait reached its time limit. Call again to wait longer.

    Attributes:
        done: what is done, as the call that waited returns it.
        pending: what is not.
    """

    def __init__(self, message: str, *, done: Any = None, pending: Any = None) -> None:
        super().__init__(message)
        self.done = done
        self.pending = pending


class WebhookError(VBCError):
    """The body of a webhook cannot be read. The message names the place and quotes nothing of the body.

    Attributes:
        place: where in the body, such as ``cmb_payload.client_number``.
        event: an `UnknownEvent` with the raw body, if its ``event_id`` could be read; else None.
    """

    def __init__(self, message: str, *, place: str = "", event: Any = None) -> None:
        super().__init__(message)
        self.place = place
        self.event = event


class ClaimLostError(VBCError):
    """A webhook's handler wanted to commit an event that it does not hold (any more). Nothing was committed.

    Let the error leave the handler: the event is handled by the receiver that holds it now, or comes again.
    """


class APIError(VBCError):
    """The API answered a typed call with an error (API reference, "Error envelopes seen").

    Attributes:
        status: the HTTP status of the answer.
        slug: the server's error slug, such as ``forbidden-error``, or None.
        message: the server's message, or the start of an answer that is not documented, or None.
        field: the invalid request field that the server names, or None.
        retry_after: seconds to wait as the server says, or None.
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
    """The request is invalid; `field` and `message` say what to correct."""


class NumbersRefusedError(BadRequestError):
    """None of the numbers was accepted (API reference, "List Number" and "DeList Number", status ``failed``).

    Attributes:
        result: a `NumbersResult`, whose buckets say why.
    """

    result: Any = None


class NotDeliveredError(APIError):
    """The record is valid, but cannot be delivered to this receiver (API reference, "Call Personalisation Errors").

    Attributes:
        reason: a `FailureReason`; only ``FAILED_TO_PUSH`` may be temporary.
    """

    reason: Any = None


class UnauthorizedError(APIError):
    """A fresh token was rejected. Check that the account ID belongs to the API key."""


class ForbiddenError(APIError):
    """The API key lacks the feature; ask the account's admin to grant it to this key."""


class NotFoundError(APIError):
    """The resource does not exist in this account."""


class RateLimitedError(APIError):
    """Too many requests for one token; `retry_after` may say how long to wait."""


class ServerError(APIError):
    """The server failed or its answer is undocumented. The same request may succeed later."""


def _revive(cls: type[APIError], args: tuple[object, ...], state: dict[str, object]) -> APIError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
