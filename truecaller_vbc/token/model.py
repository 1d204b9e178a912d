"""The token that callers get."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Final

import attrs

from ..secret import Secret, hidden

HEADER_SAFE: Final = re.compile(r"[\x21-\x7e]{1,8192}")
"""What a token may consist of: it is sent in a header, so nothing in it may end that, whoever made it up."""


def fingerprint(value: str) -> str:
    """8 hex digits by which people and logs can tell tokens apart, and from which no token can be had."""
    return hashlib.sha256(value.encode()).hexdigest()[:8]


@attrs.frozen(repr=False)
class AccessToken:
    """A bearer token. Its repr and str are masked: only `value` and `authorization` hold the secret.

    Source: API reference, "Generate Access Token" (an opaque string that lives 60 minutes).

    Args:
        value: what the server gave.
        created_at: aware; the server's own stamp, or the time of sending where it gave none.
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
            return "<AccessToken>"  # made by hand, and not well: a repr must never raise
        state = f"{left // 60}:{left % 60:02} left" if left > 0 else "expired"
        return f"<AccessToken {self.fingerprint} {state}>"

    __str__ = __repr__
