"""Define the document that a store keeps, and read and write it as JSON.

It contains the account's ledger and, by key ID, the token and the last failure. All times are seconds since 1970 on the
clock of the document (`clock.DocumentClock`), because processes on several machines read it.

A store is not trusted: it may contain anything. A document is rejected if a value could break a header, is not a valid
time, or if the whole is too long to be read quickly.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from typing import Any, Final

import attrs

from ..secret import hidden
from ..stores.protocol import REVISIONS
from .model import HEADER_SAFE

_VERSION: Final = 1
_MAX_CHARACTERS: Final = 256 * 1024
_MAX_SHOWN: Final = 500
_COUNTS: Final = range(2**51)
MAX_TIME: Final = 2.0**35
"""Limit of all times, in seconds before and after 1970 (the years 882 to 3058), so that each is a valid datetime."""


def _one_line(text: str) -> str:
    """Make foreign text safe for logs and terminals, without line breaks and control characters.

    Interned: in a process with thousands of accounts most entries of the ledgers are by the same few processes.
    """
    return sys.intern("".join(c if c.isprintable() else "?" for c in text[:_MAX_SHOWN]))


def _time(_: object, field: attrs.Attribute[float], value: float | None) -> None:
    if value is not None and not -MAX_TIME < value < MAX_TIME:  # also False for NaN
        raise ValueError(f"{field.name} is not a valid time")


def _count(_: object, field: attrs.Attribute[int], value: int) -> None:
    if value not in _COUNTS:
        raise ValueError(f"{field.name} is not a valid count")


def _sendable(_: object, field: attrs.Attribute[str], value: str) -> None:
    if not HEADER_SAFE.fullmatch(value):
        raise ValueError(f"{field.name} cannot be sent")


def short_hash(*parts: str) -> str:
    """Return 32 hex digits of a hash of `parts`."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@attrs.frozen
class StoredAttempt:
    """An entry of the ledger, see `ledger.Attempt`."""

    id: str
    at: float = attrs.field(validator=_time)
    outcome: str
    by: str = attrs.field(default="", converter=_one_line)


@attrs.frozen(weakref_slot=False)
class StoredToken:
    """A token.

    Args:
        value: for the callers.
        created_at: the server's time stamp (ISO 8601).
        starts_at: when its life began.
        age: as the server stated it, of the last token that was more than a minute old; see `state.KeyTokens`.
    """

    value: str = attrs.field(converter=hidden, validator=_sendable)
    created_at: str
    starts_at: float = attrs.field(validator=_time)
    age: float = attrs.field(default=0.0, validator=_time)


@attrs.frozen
class StoredFailure:
    """A failed attempt, shared like a token until `retry_at`.

    Args:
        kind: the name of the error's class.
        message: the text of the error.
        retry_at: no attempt is made before.
        count: failures in a row.
        api_key: a short hash of the API key, if the server rejected that.
    """

    kind: str
    message: str = attrs.field(converter=_one_line)
    retry_at: float = attrs.field(validator=_time)
    count: int = attrs.field(default=1, validator=_count)
    api_key: str | None = None


@attrs.frozen(weakref_slot=False)
class KeyState:
    """Token and failure of one API key, its older tokens, and until when no further one may be minted beside them."""

    generation: int = attrs.field(default=0, validator=_count)
    token: StoredToken | None = None
    failure: StoredFailure | None = None
    older: tuple[StoredToken, ...] = ()
    single_until: float | None = attrs.field(default=None, validator=_time)


@attrs.frozen
class StoredClock:
    """What the clock of one machine showed when it last wrote.

    Args:
        machine: names a clock that cannot be set, see `clock.machine_id`.
        uptime: the time on that clock.
        at: the time of the document at the same moment.
    """

    machine: str
    uptime: float = attrs.field(validator=_time)
    at: float = attrs.field(validator=_time)


@attrs.frozen
class Document:
    """One account's document.

    Args:
        revision: grows with every write.
        attempts: of the last window.
        full_until: the server said that no mint is free before.
        keys: token and failure by the hash of the key ID.
        version: of this form.
        written_at: when it was written; None in documents of older versions.
        clocks: for each machine, its clock when it last wrote.
    """

    revision: int = 0
    attempts: list[StoredAttempt] = attrs.field(factory=list[StoredAttempt])
    full_until: float | None = attrs.field(default=None, validator=_time)
    keys: dict[str, KeyState] = attrs.field(factory=dict[str, KeyState])
    version: int = _VERSION
    written_at: float | None = attrs.field(default=None, validator=_time)
    clocks: list[StoredClock] = attrs.field(factory=list[StoredClock])


def dump(document: Document) -> str:
    """Return the document as JSON text."""
    return json.dumps(_converter().unstructure(document), separators=(",", ":"))


def load(text: str | None) -> Document:
    """Return the document in `text`; an empty one for None.

    Raises:
        ValueError: the text is not a valid document of this version.
    """
    if text is None:
        return Document()
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"not a token document ({len(text)} characters)")
    try:
        document: Document = _converter().structure(json.loads(text), Document)
    except Exception as error:
        # Without a cause: the errors of cattrs quote invalid values, and one of those may be a token.
        raise ValueError(f"not a token document ({type(error).__name__})") from None
    if document.version != _VERSION:
        raise ValueError(f"a token document of version {document.version}, not {_VERSION}")
    if document.revision < 0:
        raise ValueError("not a token document (revision)")
    # Every store lets a write replace a revision beyond the range, which begins again from 0.
    return document if document.revision in REVISIONS else attrs.evolve(document, revision=0)


@functools.cache
def _converter() -> Any:
    # Imported on first use: sessions that share nothing do not need it.
    import cattrs  # noqa: PLC0415

    # Stop at the first wrong value: to collect all of a long text in place of a list would block the loop for seconds.
    return cattrs.Converter(forbid_extra_keys=False, detailed_validation=False)
