"""Call the code of others (stores, credentials callables) with a deadline, and report its failures as ours."""

from __future__ import annotations

import functools
import inspect
import logging
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import NoneType
from typing import Final, TypeVar

import attrs

from ..account import AccountLog
from ..credentials import Credentials
from ..durations import is_finite
from ..errors import StoreError, StoreRefusedError, TokenError
from ..secret import hidden
from ..stores.protocol import StoreUnusableError, TokenStore, revision_of
from .document import MAX_TIME, Document, dump, load
from .events import StoreRecovered, StoreUnavailable, TokenEvent
from .tasks import raise_if_cancelled, reraise_if_cancelled, timeout

_T = TypeVar("_T")
_NONE: Final[frozenset[str]] = frozenset()
_BUGS: Final = (AttributeError, TypeError, NameError, ImportError, NotImplementedError, LookupError, AssertionError)


async def ask_for_credentials(source: Callable[[], Awaitable[Credentials]], deadline: float) -> Credentials:
    """Call the user's credentials callable; it may be a plain function, too.

    Raises:
        TokenError: the callable raised, took too long or returned something else.
    """
    try:
        async with timeout(deadline):
            answer: object = source()
            credentials = await answer if inspect.isawaitable(answer) else answer
    except BaseException as error:
        reraise_if_cancelled(error)
        what = f"the credentials callable failed ({type(error).__name__}): repair it, or what it asks"
        raise TokenError(what) from error
    raise_if_cancelled()  # nothing may be minted any more
    if not isinstance(credentials, Credentials):
        what = f"the credentials callable returned {type(credentials).__name__}: it must return Credentials"
        raise TokenError(what)
    return credentials


class StoreDown(Exception):  # noqa: N818 - a state, which never reaches callers
    """A store call failed or took too long."""


@attrs.define(eq=False, repr=False, weakref_slot=False)
class GuardedStore:
    """A store whose failures are raised as `StoreDown`, except for `StoreRefusedError`, which users must repair.

    Args:
        store: any store.
        deadline: seconds for one call.
        announce: called when the store fails and when it works again.
        log: the account's.
    """

    _store: TokenStore
    _deadline: float
    _announce: Callable[[TokenEvent], None]
    _log: AccountLog
    _failing: frozenset[str] = attrs.field(init=False, default=_NONE)

    # Whether a write has succeeded in this process, or gave it a token: then a place that cannot be used is an outage.
    has_worked: bool = attrs.field(init=False, default=False)
    _bug_was_logged: bool = attrs.field(init=False, default=False)

    @property
    def down(self) -> bool:
        """Whether the last read or the last request for a lease failed."""
        return bool(self._failing - {"write", "release"})

    async def read(self, key: str) -> Document:
        """Return the document at `key`; an empty one if it is missing or unreadable."""
        # Hidden, since tracebacks can show the locals of their frames.
        text = await self._call("read", lambda: self._store.read(key), (str, NoneType))
        text = text if text is None else hidden(text)
        try:
            return load(text)
        except ValueError as error:
            self._log.warning("the token store has %s; the next mint replaces it", error)
            return Document(revision=max(0, revision_of(text)))

    async def now(self) -> float | None:
        """Return the time on the store's own clock, in seconds since 1970; None if it has none or it did not answer."""
        clock = getattr(self._store, "now", None)
        if clock is None:
            return None
        try:
            async with timeout(self._deadline):
                time: object = await clock()
        except BaseException as error:
            reraise_if_cancelled(error)
            return None
        return float(time) if is_finite(time) and abs(time) < MAX_TIME else None

    async def write(self, key: str, document: Document) -> bool:
        """Write the document. Return False if the store has a newer one."""
        kept = await self._call("write", lambda: self._store.write(key, dump(document))) is not False
        self.has_worked = True
        return kept

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        """Take the store's lease. A failure to release it is ignored, since the lease ends after its seconds."""
        lease: AbstractAsyncContextManager[bool] | None = None

        def enter() -> Awaitable[bool]:
            nonlocal lease
            lease = self._store.lease(key, seconds)
            return lease.__aenter__()

        granted = await self._call("lease", enter, (bool, int))
        assert lease is not None  # noqa: S101 - set by enter
        try:
            yield granted
        finally:
            try:
                await self._call("release", functools.partial(lease.__aexit__, None, None, None))
            except (StoreDown, StoreRefusedError):
                self._log.log(logging.DEBUG, "a lease could not be released; it ends after its seconds")

    async def _call(self, kind: str, call: Callable[[], Awaitable[_T]], kinds: tuple[type, ...] = (object,)) -> _T:
        try:
            async with timeout(self._deadline):
                result = await call()
            if not isinstance(result, kinds):
                raise TypeError  # noqa: TRY301 - a bug like any other
        except BaseException as error:
            reraise_if_cancelled(error)
            if isinstance(error, StoreRefusedError) and not (isinstance(error, StoreUnusableError) and self.has_worked):
                raise
            self._log_bug(error)
            # Without a cause: the error of a store's driver may quote the document.
            reason = str(error) if isinstance(error, StoreError) else type(error).__name__
            self._failed(kind, reason)
            raise StoreDown(reason) from None
        self._worked(kind)
        return result

    def _log_bug(self, error: BaseException) -> None:
        """Log a programming error of a store once, with the places it came from but without its text."""
        if isinstance(error, _BUGS) and not self._bug_was_logged:
            self._bug_was_logged = True
            places = ", ".join(
                f"{place.filename}:{place.lineno}" for place in traceback.extract_tb(error.__traceback__)
            )
            self._log.error("the token store has a bug (%s at %s), so it is not used", type(error).__name__, places)

    def _failed(self, kind: str, reason: str) -> None:
        if not self._failing:
            self._announce(StoreUnavailable(reason))
        self._failing |= {kind}

    def _worked(self, kind: str) -> None:
        # Only a call of the same kind shows that it works again: a full disk can still be read.
        if kind in self._failing:
            self._failing -= {kind}
            if not self._failing:
                self._announce(StoreRecovered())
