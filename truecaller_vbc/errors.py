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
    └── APIError                        .status .slug .message .field
        └── BadRequestError UnauthorizedError ForbiddenError NotFoundError RateLimitedError ServerError

None of them carries a header, a token or an API key, and each says what to do next.
"""

from __future__ import annotations

from datetime import datetime


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


class APIError(VBCError):
    """The API answered a typed call with an error (API reference, "Error envelopes seen").

    Attributes:
        status: the HTTP status of the answer.
        slug: the server's error slug, such as ``forbidden-error``, or None.
        message: the server's words, or None.
        field: the request field that the server complains about, or None.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int,
        slug: str | None = None,
        message: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.slug = slug
        self.message = message
        self.field = field

    def __reduce__(self) -> tuple[object, ...]:
        return _revive, (type(self), self.args, self.__dict__)


class BadRequestError(APIError):
    """The request was refused as invalid; `field` and `message` say what to correct."""


class UnauthorizedError(APIError):
    """A fresh token was refused: check that the account ID belongs to the API key."""


class ForbiddenError(APIError):
    """The API key lacks the feature; ask the account's admin to grant it to this key."""


class NotFoundError(APIError):
    """The resource does not exist in this account."""


class RateLimitedError(APIError):
    """Too many requests for one token.

    Attributes:
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
        super().__init__(text, status=status, slug=slug, message=message, field=field)
        self.retry_after = retry_after


class ServerError(APIError):
    """The server failed; the same request may succeed later."""


def _revive(cls: type[APIError], args: tuple[object, ...], state: dict[str, object]) -> APIError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
