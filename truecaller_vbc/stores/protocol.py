"""What a store is: a locked box with one small document per account."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, runtime_checkable

REVISIONS: Final = range(2**52)
"""Where every counter of a document lies: whole numbers that no store's arithmetic rounds."""


@runtime_checkable
class TokenStore(Protocol):
    """Where the token and the ledger of one account live. Everything clever is in the holder.

    A document is JSON text, to be kept as it is; it contains the token, so keep it as you keep a password.
    Any failure is raised as `StoreError`, or a `StoreRefusedError` where it is no outage but must be mended; other
    exceptions are treated as a `StoreError`. A store may have ``async def close()``: a session calls it for a store
    that it opened from a URL.
    """

    async def read(self, key: str) -> str | None:
        """The document at `key`, or None where there is none."""
        ...

    async def write(self, key: str, document: str) -> bool | None:
        """Keep `document` at `key`.

        A store that can be written by somebody whose lease has run out compares ``revision``, an integer at
        the top of each document, and refuses to replace a document by one whose revision is not higher: it
        keeps what it has and returns False. Anything else means that the document was kept.
        """
        ...

    def lease(self, key: str, seconds: float) -> AbstractAsyncContextManager[bool]:
        """The right to mint for `key`, for at most `seconds`.

        Entering never waits for another owner: it yields True to the one who may mint now and False to
        everybody else. It ends with the block, with its owner's death, or after `seconds`.
        """
        ...


def revision_of(document: str | None) -> int:
    """The ``revision`` at the top of a document, by which newer is told from older; -1 where there is none."""
    try:
        revision: Any = json.loads(document or "")["revision"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return -1
    if type(revision) is float and revision.is_integer():
        revision = int(revision)
    return revision if type(revision) is int and revision in REVISIONS else -1
