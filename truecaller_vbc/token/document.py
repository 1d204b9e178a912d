"""The document that a store keeps: the account's ledger and, by key ID, the token and the last failure.

All times in it are wall-clock seconds since 1970, since processes on several machines read it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any, Final

import attrs

from ..secret import hidden

_VERSION: Final = 1


def short_hash(*parts: str) -> str:
    """A name made of things that need not be readable: 32 hex digits."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@attrs.frozen
class StoredAttempt:
    """An entry of the ledger, see `ledger.Attempt`."""

    id: str
    at: float
    outcome: str
    by: str = ""


@attrs.frozen(weakref_slot=False)
class StoredToken:
    """A token: its value, the server's stamp (ISO 8601) and the moment from which its life is counted."""

    value: str = attrs.field(converter=hidden)
    created_at: str
    starts_at: float


@attrs.frozen
class StoredFailure:
    """A failed attempt, shared like a token until `retry_at`.

    Args:
        kind: the name of the error's class.
        message: the error's words.
        retry_at: before this nobody tries again.
        count: failures in a row.
        api_key: a short hash of the API key, where only that one was refused.
    """

    kind: str
    message: str
    retry_at: float
    count: int = 1
    api_key: str | None = None


@attrs.frozen(weakref_slot=False)
class KeyState:
    """What is known of one API key."""

    generation: int = 0
    token: StoredToken | None = None
    failure: StoredFailure | None = None


@attrs.frozen
class Document:
    """One account's document. `revision` grows with every write."""

    revision: int = 0
    attempts: list[StoredAttempt] = attrs.field(factory=list[StoredAttempt])
    full_until: float | None = None
    keys: dict[str, KeyState] = attrs.field(factory=dict[str, KeyState])
    version: int = _VERSION


def dump(document: Document) -> str:
    """The document as JSON text."""
    return json.dumps(_converter().unstructure(document), separators=(",", ":"))


def load(text: str | None) -> Document:
    """The document in `text`; an empty one for None.

    Raises:
        ValueError: it is no document of this version.
    """
    if text is None:
        return Document()
    try:
        document: Document = _converter().structure(json.loads(text), Document)
    except Exception as error:
        # Without a cause: cattrs' errors quote the values that do not fit, and one of those is a token.
        raise ValueError(f"not a token document ({type(error).__name__})") from None
    if document.version != _VERSION:
        raise ValueError(f"a token document of version {document.version}, not {_VERSION}")
    return document


@functools.cache
def _converter() -> Any:
    # Imported on first use: a program whose sessions share nothing does not wait for it.
    import cattrs  # noqa: PLC0415

    return cattrs.Converter(forbid_extra_keys=False)
