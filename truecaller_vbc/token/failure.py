"""A failure is a result, too: kept, and given to everybody until its time has come."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Final, TypeVar

import attrs

from ..backoff import backoff as spread_backoff
from ..backoff import grown
from ..credentials import Credentials
from ..errors import TokenError, VBCError
from .document import short_hash

_SPREAD: Final = (0.8, 1.2)
_E = TypeVar("_E", bound=VBCError)


@attrs.frozen
class Failure:
    """The last attempt's failure.

    Args:
        error: never raised itself; each caller gets a copy with this one as its cause.
        until: on `Clock.now`; before it nobody tries again.
        count: failures in a row.
        api_key: a short hash of the refused API key, where the credentials were the reason.
        shared: whether other processes would have failed, too.
    """

    error: TokenError
    until: float
    count: int
    api_key: str | None = None
    shared: bool = True

    def binds(self, credentials: Credentials | None) -> bool:
        """Whether it says anything about these credentials."""
        return self.api_key is None or credentials is None or self.api_key == key_hash(credentials)


def key_hash(credentials: Credentials) -> str:
    """A short hash of the API key, by which a mended typo is told from the typo."""
    return short_hash(credentials.client_account_id, credentials.key_id, credentials.api_key)[:16]


def fresh(error: _E) -> _E:
    """A new exception like `error` and caused by it, so that no two callers raise the same object."""
    twin = copy.copy(error)
    twin.__cause__ = error
    return twin


def backoff(first: timedelta, count: int, most: timedelta = timedelta.max) -> float:
    """Return the seconds to wait after `count` failures in a row, spread by a fifth in both directions."""
    return spread_backoff(first.total_seconds(), count, most=most.total_seconds(), spread=_SPREAD)


def doubled(first: timedelta, count: int) -> float:
    """Return `first` in seconds, doubled for each failure after the first."""
    return grown(first.total_seconds(), count)
