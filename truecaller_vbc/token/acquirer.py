"""How a token is come by: adopted from the store, or minted under its lease. One walk at a time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import random
import secrets
import socket
from collections.abc import Callable
from enum import Enum
from typing import Final

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
from ..stores.protocol import TokenStore
from . import cancellation
from .books import Books, Issued
from .clock import Clock
from .document import short_hash
from .endpoint import Answer, TokenEndpoint
from .events import TokenEvent
from .failure import backoff, fresh
from .ledger import Attempt, Outcome
from .policy import TokenPolicy
from .store_link import StoreDown, StoreLink

_POLL: Final = (0.1, 0.25)
_MOST_WRITES: Final = 3
_NO_DOCUMENT: Final = contextlib.nullcontext()


class Need(Enum):
    """Why a token is wanted, which decides what may be spent on it."""

    NOTHING_LEFT = "nothing left"
    """Callers have no usable token: the whole quota may be spent."""
    AHEAD = "ahead"
    """The one at hand is still good: the reserve, and a store that is down, are good reasons to wait."""


class StoodAside(Exception):  # noqa: N818 - not an error of anybody's
    """A refresh ahead of time that may not happen before `until`. Never a caller's failure."""

    def __init__(self, until: float) -> None:
        super().__init__(until)
        self.until = until


class Acquirer:
    """Knows the credentials, the store and the books; holds no token and no task.

    Args:
        endpoint: where tokens are minted.
        source: credentials, or an async callable that fetches them.
        store: the shared document; None where nothing is shared.
        policy: the numbers.
        clock: the only time it knows.
        announce: told when the store goes and comes back.
    """

    __slots__ = (
        "_ask_first",
        "_clock",
        "_endpoint",
        "_policy",
        "_source",
        "_store",
        "_turn",
        "books",
        "credentials",
        "unsaved",
    )

    def __init__(
        self,
        *,
        endpoint: TokenEndpoint,
        source: CredentialsSource,
        store: TokenStore | None,
        policy: TokenPolicy,
        clock: Clock,
        announce: Callable[[TokenEvent], None],
    ) -> None:
        self._endpoint = endpoint
        self._source = source
        self._policy = policy
        self._clock = clock
        self._store = None if store is None else StoreLink(store, self._deadline / 3, announce)
        self.credentials = source if isinstance(source, Credentials) else None
        self._ask_first = self.credentials is None
        self.books = Books(policy, clock, shared=store is not None)
        self.unsaved = False
        # An attempt and a bringing back would get into each other's document.
        self._turn = _NO_DOCUMENT if store is None else asyncio.Lock()

    @property
    def _deadline(self) -> float:
        return self._policy.mint_timeout.total_seconds()

    def blocked(self) -> TokenError | None:
        """The failure that a caller without a token gets at once, as a fresh exception; or None."""
        failure = self.books.failure
        if failure is None or self._clock.now() >= failure.until or not failure.binds(self.credentials):
            return None
        return fresh(failure.error)

    async def acquire(self, http: aiohttp.ClientSession | None, need: Need, held: str | None) -> Issued:
        """A token other than the one `held`, adopted or minted.

        Raises:
            TokenError: none could be had; it is remembered.
            StoodAside: `need` is AHEAD and now is not the time.
        """
        async with self._turn:
            try:
                return await self._acquire(http, need, held)
            finally:
                self.books.put_away()

    async def _acquire(self, http: aiohttp.ClientSession | None, need: Need, held: str | None) -> Issued:
        credentials = await self._current_credentials()
        try:
            return await self._walk(http, credentials, need, held)
        except CredentialsRejectedError:
            if isinstance(self._source, Credentials):
                raise
            self._ask_first = True
            if await self._current_credentials() == credentials:
                self._ask_first = True
                raise
        return await self._walk(http, await self._current_credentials(), need, held)

    async def _current_credentials(self) -> Credentials:
        """What the user's callable returned is kept until the server refuses it."""
        if self.credentials is None or self._ask_first:
            self.credentials = await self._ask()
            self._ask_first = False
        return self.credentials

    async def _ask(self) -> Credentials:
        assert not isinstance(self._source, Credentials)  # noqa: S101 - those need no asking
        try:
            async with asyncio.timeout(self._deadline):
                answer: object = self._source()
                credentials = await answer if inspect.isawaitable(answer) else answer
        except (Exception, asyncio.CancelledError) as error:
            cancellation.let_through(error)
            what = f"the credentials callable failed ({type(error).__name__}): mend it, or its vault"
            raise self.books.fail(TokenError(what), shared=False) from error
        cancellation.heed()  # the callable may have swallowed it, and nothing may be bought any more
        if not isinstance(credentials, Credentials):
            what = f"the credentials callable returned {type(credentials).__name__}: it must return Credentials"
            raise self.books.fail(TokenError(what), shared=False)
        return credentials

    async def _walk(
        self, http: aiohttp.ClientSession | None, credentials: Credentials, need: Need, held: str | None
    ) -> Issued:
        """Adopt, or raise what others have learned, or mint under the lease, or wait for its owner."""
        if (store := self._store) is None:
            return self._known(credentials, need, held) or await self._mint(http, credentials, need)
        key, seconds = self._key(credentials), self._policy.lease.total_seconds()
        try:
            for _ in range(_patience(seconds)):
                self.books.absorb(await store.read(key), credentials)
                if issued := self._known(credentials, need, held):
                    return issued
                async with store.lease(key, seconds) as granted:
                    if granted:
                        # Again: the last owner may have written between our look and our lease.
                        self.books.absorb(await store.read(key), credentials)
                        issued = self._known(credentials, need, held)
                        return issued or await self._mint(http, credentials, need)
                await asyncio.sleep(random.uniform(*_POLL))
        except StoreDown:
            return await self._walk_alone(http, credentials, need)
        error = TokenEndpointError(
            "another process has kept the store's lease for longer than a mint can take: it is asked for again "
            "after retry_at; if this recurs, look at the store"
        )
        raise self.books.fail(error, shared=False)

    async def _walk_alone(self, http: aiohttp.ClientSession | None, credentials: Credentials, need: Need) -> Issued:
        """The store is down: those who have a token wait, for the others this process's own ledger decides."""
        if need is Need.AHEAD:
            raise StoodAside(self._clock.now() + backoff(self._policy.refresh_retry, 1))
        self._admit(credentials, need)
        return await self._mint(http, credentials, need)

    def _known(self, credentials: Credentials, need: Need, held: str | None) -> Issued | None:
        """A token to adopt, or None where one may be minted now; else raises why not."""
        if issued := self.books.adopt(credentials, held, self._most_age(need)):
            return issued
        self._admit(credentials, need)
        return None

    def _most_age(self, need: Need) -> float:
        """How old a token may be to be adopted: usable for those who have nothing, fresh for those who have one."""
        policy = self._policy
        fresh_for = policy.lifetime - policy.refresh_ahead - policy.refresh_jitter
        return (policy.usable_for if need is Need.NOTHING_LEFT else fresh_for).total_seconds()

    def _admit(self, credentials: Credentials, need: Need) -> None:
        """Pass where an attempt may be made now."""
        now = self._clock.now()
        failure = self.books.failure
        if failure is not None and failure.until > now and failure.binds(credentials):
            if need is Need.AHEAD:
                raise StoodAside(failure.until)
            raise failure.error
        reserve = self._policy.reserve_mints if need is Need.AHEAD else 0
        free_at = self.books.ledger.free_at(now, reserve=reserve)
        if free_at <= now:
            return
        if need is Need.AHEAD:
            raise StoodAside(free_at)
        error = MintQuotaExhaustedError(
            f"all {self._policy.max_mints} tokens of one window ({self._policy.mint_window}) are spent: none is "
            "asked for before retry_at; if this recurs, share one token between processes (store=)"
        )
        raise self.books.fail_for_quota(error, free_at)

    async def _mint(self, http: aiohttp.ClientSession | None, credentials: Credentials, need: Need) -> Issued:
        """Enter the attempt, make it, enter what came of it: a kill in between still counts."""
        deadline = self._clock.now() + self._policy.lease.total_seconds()
        attempt = Attempt(secrets.token_hex(8), deadline, by=_me())
        self.books.enter(attempt)
        if not await self._saved(credentials) and need is Need.AHEAD:
            # Not forgotten: a write that failed may have arrived all the same, and the store be told now what became.
            self.books.enter(attrs.evolve(attempt, at=self._clock.now(), outcome=Outcome.UNSENT))
            raise StoreDown
        # Before any wait for a connection of http=: the token may be taken to be older than it is, never younger.
        sent = self._clock.now()
        answer = await self._endpoint.mint(http, credentials)
        self.books.enter(attrs.evolve(attempt, at=self._clock.now(), outcome=answer.outcome))
        issued = self._enter(answer, credentials, sent)
        await self._saved(credentials)
        if isinstance(issued, TokenError):
            raise issued
        return issued

    def _enter(self, answer: Answer, credentials: Credentials, sent: float) -> Issued | TokenError:
        """Enter what an attempt came to in the books."""
        if answer.grant is not None:
            return self.books.grant(answer.grant, credentials, sent) or self.books.fail(
                TokenEndpointError(
                    "the token endpoint handed out a token that has already ended by the server's own account: "
                    "it will be tried again after retry_at"
                )
            )
        assert answer.error is not None  # noqa: S101 - an answer has a grant or an error
        if isinstance(answer.error, MintQuotaExhaustedError):
            self.books.ledger = self.books.ledger.full(self._clock.now(), answer.retry_after)
            return self.books.fail_for_quota(answer.error, self.books.ledger.full_until)
        return self.books.fail(
            answer.error,
            retry_after=answer.retry_after,
            shared=answer.outcome is not Outcome.UNSENT,
            credentials=credentials,
        )

    async def _saved(self, credentials: Credentials) -> bool:
        """Write what is known. A store that is down stops no mint and loses no token: it hears of it later."""
        if self._store is None:
            return True
        self.unsaved = True
        if self._store.down:
            return False
        try:
            await self._save(self._store, credentials)
        except (StoreDown, StoreRefusedError):
            return False
        return True

    async def save_back(self) -> None:
        """Bring the store what it missed while it was down; newer things in it are kept."""
        store, credentials = self._store, self.credentials
        if not self.unsaved or store is None or credentials is None:
            return
        key = self._key(credentials)
        async with self._turn:
            with contextlib.suppress(StoreDown, StoreRefusedError):
                async with store.lease(key, self._policy.lease.total_seconds()) as granted:
                    if granted:
                        self.books.absorb(await store.read(key), credentials)
                        await self._save(store, credentials)
            self.books.put_away()

    async def _save(self, store: StoreLink, credentials: Credentials) -> None:
        """Write the document; where somebody wrote a newer one meanwhile, on top of that."""
        key = self._key(credentials)
        for _ in range(_MOST_WRITES):
            document = self.books.compose(credentials)
            if await store.write(key, document):
                self.books.written(document)
                self.unsaved = False
                return
            self.books.absorb(await store.read(key), credentials)
        raise StoreDown("every write was refused as outdated")

    def _key(self, credentials: Credentials) -> str:
        return short_hash(str(self._endpoint.base_url), credentials.client_account_id)


def _patience(seconds: float) -> int:
    """How many looks, at the shortest pause between two, outlast two leases."""
    return int(2 * seconds / _POLL[0])


def _me() -> str:
    return _named(os.getpid())


@functools.lru_cache(maxsize=1)
def _named(pid: int) -> str:
    # One text for all attempts of a process, and anew in one that was forked.
    return f"{socket.gethostname()}:{pid}"
