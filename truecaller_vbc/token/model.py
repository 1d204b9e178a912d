"""Define the token that callers get."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Final

import attrs

from ..secret import Secret, hidden

HEADER_SAFE: Final = re.compile(r"[\x21-\x7e]{1,8192}")
"""The characters of a token: it is sent in a header, so it may contain no white space or control characters."""


def fingerprint(value: str) -> str:
    """Return 8 hex digits of a hash of the token, to tell tokens apart in logs without showing them."""
    return hashlib.sha256(value.encode()).hexdigest()[:8]


@attrs.frozen(repr=False)
class AccessToken:
    """A bearer token. Its repr and str are masked: only `value` and `authorization` hold the secret.

    Source: API reference, "Generate Access Token" (an opaque string that lives 60 minutes).

    Args:
        value: the token as the server returned it.
        created_at: aware; the server's time stamp, or the time of sending if it returned none.
        expires_at: aware; the end of its life by this machine's wall clock.
    """

    value: str = attrs.field(converter=hidden)
    created_at: datetime
    expires_at: datetime
    authorization: str = attrs.field(init=False, eq=False)
    fingerprint: str = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "authorization", Secret(f"Bearer {self.value!s}"))
        object.__setattr__(self, "fingerprint", fingerprint(self.value))

    def __repr__(self) -> str:
        try:
            left = int((self.expires_at - datetime.now(UTC)).total_seconds())
        except (TypeError, AttributeError):
            return "<AccessToken>"  # made by hand with wrong types: a repr must never raise
        state = f"{left // 60}:{left % 60:02} left" if left > 0 else "expired"
        return f"<AccessToken {self.fingerprint} {state}>"

    __str__ = __repr__
