"""How a token is come by: adopted from the store, or minted under its lease. One walk at a time."""

from __future__ import annotations

import asyncio
import contextlib
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
        store: the shared document.
        policy: the numbers.
        clock: the only time it knows.
        announce: told when the store goes and comes back.
    """

    __slots__ = (
        "_ask_first",
        "_clock",
        "_deadline",
        "_endpoint",
        "_lease_seconds",
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
        store: TokenStore,
        policy: TokenPolicy,
        clock: Clock,
        announce: Callable[[TokenEvent], None],
    ) -> None:
        self._endpoint = endpoint
        self._source = source
        self._policy = policy
        self._clock = clock
        self._deadline = policy.mint_timeout.total_seconds()
        self._lease_seconds = policy.lease.total_seconds()
        self._store = StoreLink(store, self._deadline / 3, announce)
        self.credentials = source if isinstance(source, Credentials) else None
        self._ask_first = self.credentials is None
        self.books = Books(policy, clock)
        self.unsaved = False
        self._turn = asyncio.Lock()  # an attempt and a bringing back would get into each other's document

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
        except Exception as error:
            what = f"the credentials callable failed ({type(error).__name__}): mend it, or its vault"
            raise self.books.fail(TokenError(what), shared=False) from error
        if not isinstance(credentials, Credentials):
            what = f"the credentials callable returned {type(credentials).__name__}: it must return Credentials"
            raise self.books.fail(TokenError(what), shared=False)
        return credentials

    async def _walk(
        self, http: aiohttp.ClientSession | None, credentials: Credentials, need: Need, held: str | None
    ) -> Issued:
        """Adopt, or raise what others have learned, or mint under the lease, or wait for its owner."""
        key = self._key(credentials)
        try:
            for _ in range(self._patience()):
                if issued := await self._look(credentials, need, held):
                    return issued
                async with self._store.lease(key, self._lease_seconds) as granted:
                    if granted:
                        # Again: the last owner may have written between our look and our lease.
                        issued = await self._look(credentials, need, held)
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

    def _patience(self) -> int:
        """How many looks, at the shortest pause between two, outlast two leases."""
        return int(2 * self._lease_seconds / _POLL[0])

    async def _look(self, credentials: Credentials, need: Need, held: str | None) -> Issued | None:
        """Read the store: a token to adopt, or None where one may be minted now; else raises why not."""
        self.books.absorb(await self._store.read(self._key(credentials)), credentials)
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
        before = self.books.ledger
        attempt = Attempt(secrets.token_hex(8), self._clock.now() + self._lease_seconds, by=_me())
        self.books.enter(attempt)
        if not await self._saved(credentials) and need is Need.AHEAD:
            self.books.ledger = before
            raise StoreDown
        # Before any wait for a connection of http=: the token may be taken to be older than it is, never younger.
        sent, sent_wall = self._clock.now(), self._clock.wall()
        answer = await self._endpoint.mint(http, credentials)
        self.books.enter(attrs.evolve(attempt, at=self._clock.now(), outcome=answer.outcome))
        issued = self._enter(answer, credentials, sent, sent_wall)
        await self._saved(credentials)
        if isinstance(issued, TokenError):
            raise issued
        return issued

    def _enter(self, answer: Answer, credentials: Credentials, sent: float, sent_wall: float) -> Issued | TokenError:
        """Enter what an attempt came to in the books."""
        if answer.grant is not None:
            return self.books.grant(answer.grant, credentials, sent, sent_wall) or self.books.fail(
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
        self.unsaved = True
        if self._store.down:
            return False
        try:
            await self._save(credentials)
        except (StoreDown, StoreRefusedError):
            return False
        return True

    async def save_back(self) -> None:
        """Bring the store what it missed while it was down; newer things in it are kept."""
        credentials = self.credentials
        if not self.unsaved or credentials is None:
            return
        key = self._key(credentials)
        async with self._turn:
            with contextlib.suppress(StoreDown, StoreRefusedError):
                async with self._store.lease(key, self._lease_seconds) as granted:
                    if granted:
                        self.books.absorb(await self._store.read(key), credentials)
                        await self._save(credentials)
            self.books.put_away()

    async def _save(self, credentials: Credentials) -> None:
        """Write the document; where somebody wrote a newer one meanwhile, on top of that."""
        key = self._key(credentials)
        for _ in range(_MOST_WRITES):
            document = self.books.compose(credentials)
            if await self._store.write(key, document):
                self.books.written(document)
                self.unsaved = False
                return
            self.books.absorb(await self._store.read(key), credentials)
        raise StoreDown("every write was refused as outdated")

    def _key(self, credentials: Credentials) -> str:
        return short_hash(str(self._endpoint.base_url), credentials.client_account_id)


def _me() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
