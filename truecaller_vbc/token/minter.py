"""Reuse the token in the store, or mint one while holding the store's lease."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import random
import secrets
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import aiohttp
import attrs

from ..credentials import Credentials, CredentialsSource
from ..errors import (
    CredentialsRejectedError,
    MintQuotaExhaustedError,
    StoreRefusedError,
    TokenEndpointError,
    TokenError,
)
from .clock import Clock, machine_id
from .document import short_hash
from .endpoint import TokenEndpoint
from .exchange import Exchange
from .guards import GuardedStore, StoreDown, ask_for_credentials
from .known_tokens import CurrentToken
from .ledger import Attempt, Outcome
from .policy import TokenPolicy
from .state import AccountState, Failure, RefreshMode, Wait
from .tasks import Deadline, cancelled_from_outside, shielded

_POLL: Final = (0.1, 0.25)
_MAX_WRITES: Final = 3
_NO_LOCK: Final = contextlib.nullcontext()


class RefreshDeferred(Exception):  # noqa: N818 - not an error: callers have a token, and never see this
    """Raised when an advisory refresh must wait until `until`."""

    def __init__(self, until: float) -> None:
        super().__init__(until)
        self.until = until


class _LeaseEnded(Exception):  # noqa: N818 - not an error: the store is asked again
    """Raised when another process may be minting now: this one was stopped, or the store has lost its lease."""


@attrs.define(eq=False, repr=False, weakref_slot=False)
class Minter:
    """Does the I/O for a new token (credentials callable, store, token endpoint) as the state decides.

    Args:
        state: of the account.
        endpoint: where tokens are minted.
        source: credentials, or an async callable that fetches them.
        store: the shared store; None if nothing is shared.
        policy: the numbers.
        clock: the only source of time.
    """

    _state: AccountState
    _endpoint: TokenEndpoint
    _source: CredentialsSource
    _store: GuardedStore | None
    _policy: TokenPolicy
    _clock: Clock
    _exchange: Exchange = attrs.field(init=False)
    _ask_again: bool = attrs.field(init=False)
    _store_lock: AbstractAsyncContextManager[Any] = attrs.field(init=False)
    unsaved: bool = attrs.field(init=False, default=False)
    # The failure before callers stopped waiting for the running attempt, if they have.
    _before_overdue: tuple[Failure | None] | None = attrs.field(init=False, default=None)
    # Set by the holder; called when callers stop waiting for a token request, which goes on.
    on_overdue: Callable[[TokenError], object] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        machine = None if self._store is None else machine_id(self._clock)
        self._exchange = Exchange(self._state, self._policy, machine)
        self._state.credentials = self._source if isinstance(self._source, Credentials) else None
        self._ask_again = self._state.credentials is None
        # Minting and `save_back` both read and write the document, so they take turns.
        self._store_lock = _NO_LOCK if self._store is None else asyncio.Lock()

    @property
    def _timeout(self) -> float:
        return self._policy.mint_timeout.total_seconds()

    @property
    def _lease(self) -> float:
        return self._policy.lease.total_seconds()

    async def obtain(self, http: aiohttp.ClientSession | None, mode: RefreshMode) -> CurrentToken:
        """Return a new token, adopted or minted.

        Raises:
            TokenError: no token was obtained. The state remembers the error.
            StoreRefusedError: the store must be repaired first.
            RefreshDeferred: `mode` is ADVISORY, and the refresh must wait.
        """
        async with self._store_lock:
            try:
                credentials = await self._load_credentials()
                try:
                    return await self._adopt_or_mint(http, mode)
                except (CredentialsRejectedError, MintQuotaExhaustedError):
                    # The callable may know other credentials by now, of an account with a quota of its own.
                    if isinstance(self._source, Credentials):
                        raise
                    self._ask_again = True
                    if cancelled_from_outside():
                        raise
                    if await self._load_credentials() == credentials:
                        self._ask_again = True
                        raise
                return await self._adopt_or_mint(http, mode)
            except StoreRefusedError:
                # Not remembered: callers get it each time, since reading the store costs no token request.
                if mode is not RefreshMode.MANDATORY:
                    raise self._deferred() from None
                raise
            finally:
                self._exchange.forget_document()

    async def _load_credentials(self) -> Credentials:
        """Return the credentials. Those that the user's callable returned are kept until the server rejects them."""
        state = self._state
        if state.credentials is None or self._ask_again:
            assert not isinstance(self._source, Credentials)  # noqa: S101 - only a callable is asked
            before = state.credentials
            try:
                state.credentials = await ask_for_credentials(self._source, self._timeout)
                if before is not None and before.client_account_id != state.credentials.client_account_id:
                    state.change_account()
                elif before is not None and before.key_id != state.credentials.key_id and state.pool is not None:
                    state.pool.older = ()
            except TokenError as error:
                state.fail(error, *self._time(), shared=False)
                raise
            self._ask_again = False
        return state.credentials

    async def _adopt_or_mint(self, http: aiohttp.ClientSession | None, mode: RefreshMode) -> CurrentToken:
        """Adopt the stored token, or raise the stored failure, or mint if we get the lease; else poll again."""
        if (store := self._store) is None:
            return self._adopt(mode) or await self._mint(http, mode, self._clock.now() + self._lease)
        try:
            waited = 0.0
            while waited < self._timeout + self._lease:
                began = self._clock.now()
                await self._read(store)
                if self._exchange.doubtful:
                    await self._read_and_write(store)
                if (token := self._adopt(mode)) is not None:
                    return token
                lease_end = self._clock.now() + self._lease
                with contextlib.suppress(_LeaseEnded):
                    async with store.lease(self._key, self._lease) as granted:
                        if granted:
                            # Again: the last owner may have written after our first read.
                            await self._read(store)
                            return self._adopt(mode) or await self._mint(http, mode, lease_end, leased=True)
                await asyncio.sleep(random.uniform(*_POLL))
                # No look takes longer than that, unless this process was stopped: then it has not waited.
                waited += min(self._clock.now() - began, self._timeout)
        except StoreDown:
            if mode is not RefreshMode.MANDATORY:
                raise self._deferred() from None
            return self._adopt(mode) or await self._mint(http, mode, self._clock.now() + self._lease)
        error = TokenEndpointError(
            "another process has held the store's lease for longer than a mint can take: it is tried again "
            "after retry_at; if this recurs, check the store"
        )
        raise self._state.fail(error, *self._time(), shared=False)

    def _adopt(self, mode: RefreshMode) -> CurrentToken | None:
        """Return a token to adopt, or None if one may be minted now; else raise why not."""
        step = self._state.next_step(*self._time(), mode)
        if isinstance(step, Wait):
            raise RefreshDeferred(step.until) if mode is not RefreshMode.MANDATORY else step.error
        if not isinstance(step, CurrentToken):
            return None
        if self._store is not None and not self._store.down:
            self._store.has_worked = True  # this process has a token, so a store that fails later is an outage
        return step

    async def _mint(
        self, http: aiohttp.ClientSession | None, mode: RefreshMode, lease_end: float, *, leased: bool = False
    ) -> CurrentToken:
        """Enter the attempt before its request, so that it counts if the process is killed; then enter the outcome.

        Callers wait for `TokenPolicy.mint_timeout`. The request goes on until `lease_end`: a token that comes later is
        paid for as well.
        """
        state, clock = self._state, self._clock
        now = clock.now()
        attempt = Attempt(secrets.token_hex(8), now + self._lease, minted_by=_minted_by(os.getpid()))
        state.enter(attempt, now)
        try:
            is_first = self._store is not None and not self._store.has_worked
            is_entered = await self._save(raising=is_first and mode is RefreshMode.MANDATORY)
        except StoreRefusedError:
            self._enter_unsent(attempt)
            raise
        if not is_entered and is_first and mode is RefreshMode.MANDATORY:
            state.log.error(
                "the token store is down as this process starts, so its token request is not counted by others: if "
                "programs start often, the account's quota is at risk"
            )
        if not is_entered and mode is not RefreshMode.MANDATORY:
            self._enter_unsent(attempt)
            raise self._deferred()
        if leased and (clock.now() >= lease_end or state.adoptable(clock.now(), mode) is not None):
            self._enter_unsent(attempt)
            await self._save()
            raise _LeaseEnded
        # Before the wait for a connection of http=: the token may be believed to be older than it is, never younger.
        sent = clock.now()
        overdue = Deadline(self._timeout, self._overdue, contextvars.Context())
        with shielded():
            try:
                seconds = max(lease_end - sent, self._timeout)
                answer = await self._endpoint.mint(http, self._credentials, seconds)
            finally:
                overdue.cancel()
            if self._before_overdue is not None:
                # One attempt is one failure: what was remembered when callers stopped waiting does not count as well.
                state.failure = self._before_overdue[0]
                self._before_overdue = None
            # Both clocks as they are now: the wall clock may have been set since the request was sent.
            token = state.answered(attempt, answer, sent, *self._time())
            await self._save()
        if isinstance(token, TokenError):
            raise token
        return token

    def _enter_unsent(self, attempt: Attempt) -> None:
        """Enter an attempt as unsent; not removed, since the store, which may have it, is told so later."""
        now = self._clock.now()
        self._state.enter(attrs.evolve(attempt, at=now, outcome=Outcome.UNSENT), now)

    def _overdue(self) -> None:
        """End the wait of the callers, but not the request."""
        error = TokenEndpointError(
            f"the token endpoint did not answer within {self._timeout:g} s: a later answer is still used, and the "
            "token is asked for again after retry_at"
        )
        self._before_overdue = (self._state.failure,)
        self.on_overdue(self._state.fail(error, *self._time(), shared=False))

    def _deferred(self) -> RefreshDeferred:
        return RefreshDeferred(self._state.retry_store_at(self._clock.now()))

    def _time(self) -> tuple[float, float]:
        now = self._clock.now()
        return now, self._clock.wall() - now

    # The store

    async def _save(self, *, raising: bool = False) -> bool:
        """Save the document. Return False if the store is down; `save_back` tries again later.

        Raises:
            StoreRefusedError: `raising` is set, and the store must be repaired first.
        """
        if self._store is None:
            return True
        self.unsaved = True
        if self._store.down:
            return False
        try:
            await self._write(self._store)
        except StoreDown:
            return False
        except StoreRefusedError:
            if raising:
                raise
            return False
        return True

    def save_later(self) -> None:
        """Let `save_back` write what changed."""
        self.unsaved = self._store is not None

    async def save_back(self) -> None:
        """Write what the store missed while it was down. Newer things in the store are kept."""
        store = self._store
        if not self.unsaved or store is None or self._state.credentials is None:
            return
        async with self._store_lock:
            await self._read_and_write(store)
            self._exchange.forget_document()

    async def _read_and_write(self, store: GuardedStore) -> None:
        """Write the document again, with what is known here and without what cannot be true, if the store allows it."""
        with contextlib.suppress(StoreDown, StoreRefusedError):
            async with store.lease(self._key, self._lease) as granted:
                if granted:
                    await self._read(store)
                    await self._write(store)

    async def _read(self, store: GuardedStore) -> None:
        document = await store.read(self._key)
        store_time = await store.now()
        self._exchange.merge_document(document, *self._time(), store_time)

    async def _write(self, store: GuardedStore) -> None:
        """Write the document; if another process has written a newer one, merge that and try again."""
        for _ in range(_MAX_WRITES):
            document = self._exchange.to_document(*self._time())
            if await store.write(self._key, document):
                self._exchange.document_saved(document)
                self.unsaved = False
                return
            await self._read(store)
        raise StoreDown("every write was refused as outdated")

    @property
    def _credentials(self) -> Credentials:
        assert self._state.credentials is not None  # noqa: S101 - loaded before any attempt
        return self._state.credentials

    @property
    def _key(self) -> str:
        return short_hash(str(self._endpoint.base_url), self._credentials.client_account_id)


@functools.lru_cache(maxsize=1)
def _minted_by(pid: int) -> str:
    # Cached by process ID: one string for all attempts, and another after a fork.
    return f"{socket.gethostname()}:{pid}"
