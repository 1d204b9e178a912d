"""Define the interface of a store (one small document per account, and a lease)."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, runtime_checkable

from ..errors import StoreRefusedError

REVISIONS: Final = range(10**400)
"""The range of revisions. No document comes near its end, since nothing could replace the last revision."""


@runtime_checkable
class TokenStore(Protocol):
    """Store the token and the ledger of an account. All decisions are made by the session, not by the store.

    A document is JSON text, to be kept unchanged; it contains the token, so protect it like a password. Raise
    `StoreError` for a failure that may pass, and `StoreRefusedError` for one that must be mended; other exceptions are
    treated as `StoreError`.

    A store may have ``async def close()``: a session calls it for a store that it opened from a URL. It may have
    ``async def now() -> float``, the seconds since 1970 on a clock that all processes share, which then takes the place
    of their wall clocks.
    """

    async def read(self, key: str) -> str | None:
        """Return the document at `key`, or None."""
        ...

    async def write(self, key: str, document: str) -> bool | None:
        """Store `document` at `key`.

        If a holder whose lease has ended can still write, compare ``revision``, an integer at the top of each document:
        refuse a document whose revision is not higher, keep the stored one, and return False. Any other result means
        that the document was stored.
        """
        ...

    def lease(self, key: str, seconds: float) -> AbstractAsyncContextManager[bool]:
        """Give the right to mint for `key`, for at most `seconds`.

        Entering never waits for another holder: it yields True to the one that may mint now, and False to all others.
        The lease ends with the block, with its holder's death, or after `seconds`.
        """
        ...


class StoreUnusableError(StoreRefusedError):
    """No waiting helps: the place cannot be used as it is.

    A session that has nothing raises it before its first token request. Once a store has worked in a process, the
    session treats it as an outage instead.
    """


def revision_of(document: str | None) -> int:
    """Return the ``revision`` at the top of a document; -1, which any write replaces, if it is missing or invalid."""
    try:
        revision: Any = json.loads(document or "")["revision"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return -1
    if type(revision) is float and revision.is_integer():
        revision = int(revision)
    return revision if type(revision) is int and revision in REVISIONS else -1
