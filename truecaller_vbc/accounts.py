"""Open the sessions of many accounts in one process when they are needed, and close them when they are idle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, Unpack

import aiohttp

from .credentials import Credentials
from .durations import as_duration
from .errors import ConfigurationError, SessionClosedError
from .options import SharedOptions
from .secret import hidden
from .session import VBCSession
from .stores import TokenStore, open_store

_LOOKED_AT_ONCE: Final = 50


class VBCAccounts:
    """The sessions of many accounts, which share one pool of connections and one store.

    Use it as ``async with VBCAccounts(load_credentials, store=...) as accounts``, and get a session for each use:
    ``vbc = await accounts["account ID"]``. Its token is minted when it is first needed, and is refreshed as long as
    it is used.

    Args:
        load_credentials: an async callable that returns the `Credentials` of an account ID, for example from a vault.
            It is called as the credentials callable of `VBCSession` is; what it raises is the cause of a `TokenError`.
        idle: seconds, or a timedelta, after which a session that was not used is closed; 10 minutes by default. A
            session whose calls wait for their turn or for a retry is in use.
        http: an `aiohttp.ClientSession` of yours for all accounts, never closed here; by default one is opened.
        store: as for `VBCSession`; opened once for all accounts. None keeps the tokens in this process.
        options: any other argument of `VBCSession`, for all accounts.

    Raises:
        ConfigurationError: an argument is wrong.
    """

    def __init__(
        self,
        load_credentials: Callable[[str], Awaitable[Credentials]],
        *,
        idle: float | timedelta = 600.0,
        http: aiohttp.ClientSession | None = None,
        store: TokenStore | str | None = None,
        **options: Unpack[SharedOptions],
    ) -> None:
        if not callable(load_credentials):
            raise ConfigurationError("VBCAccounts(load_credentials) must be an async callable that takes an account ID")
        self._load = load_credentials
        self._idle = as_duration(idle, owner="VBCAccounts(idle=...)").total_seconds()
        if self._idle <= 0:
            raise ConfigurationError("VBCAccounts(idle=...) must be longer than 0 seconds")
        self._user_http = http
        store = hidden(store) if isinstance(store, str) else store  # tracebacks can show the locals of this frame
        # Not one for each session: thousands would open a pool of Redis connections each.
        self._store = open_store(store)
        self._our_store: Any = self._store if isinstance(store, str) else None
        self._options: Any = options
        self._sessions: dict[str, VBCSession] = {}
        self._http: aiohttp.ClientSession | None = None
        self._closer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._http = self._user_http or aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._closer = asyncio.create_task(self._close_idle(), name="truecaller_vbc closing of idle accounts")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all sessions."""
        closer, self._closer = self._closer, None
        if closer is not None:
            closer.cancel()
            await asyncio.wait([closer])
        sessions, self._sessions = self._sessions, {}
        async with contextlib.AsyncExitStack() as closing:
            if self._http is not None and self._http is not self._user_http:
                closing.push_async_callback(self._http.close)
            if hasattr(self._our_store, "close"):
                closing.push_async_callback(self._our_store.close)
            await asyncio.gather(*(vbc.close() for vbc in sessions.values()))

    def __getitem__(self, account_id: str) -> Awaitable[VBCSession]:
        """Return a coroutine that returns the open session of an account.

        Raises:
            SessionClosedError: the accounts are not open, see ``async with``.
        """
        return self._get(account_id)

    def __iter__(self) -> Iterator[VBCSession]:
        """Iterate over the sessions that are open, for metrics."""
        return iter(tuple(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    async def _get(self, account_id: str) -> VBCSession:
        if self._closer is None:
            raise SessionClosedError("VBCAccounts is not open: use it as 'async with VBCAccounts(...) as accounts'")
        if (vbc := self._sessions.get(account_id)) is None:
            vbc = VBCSession(self._source(account_id), http=self._http, store=self._store, **self._options)
            await vbc.open()  # does not suspend, so that two callers get the same session
            self._sessions[account_id] = vbc
        vbc.touch()
        return vbc

    def _source(self, account_id: str) -> Callable[[], Awaitable[Credentials]]:
        async def load() -> Credentials:
            credentials = await self._load(account_id)
            if credentials.client_account_id != account_id:
                raise ConfigurationError("load_credentials returned the credentials of another account than was asked")
            return credentials

        return load

    async def _close_idle(self) -> None:
        while True:
            await asyncio.sleep(self._idle / 2)
            names = tuple(self._sessions)
            for start in range(0, len(names), _LOOKED_AT_ONCE):
                some = {name: self._sessions[name] for name in names[start : start + _LOOKED_AT_ONCE]}
                idle = {name: vbc for name, vbc in some.items() if vbc.is_idle(self._idle)}
                for name in idle:
                    del self._sessions[name]
                await asyncio.gather(*(vbc.close() for vbc in idle.values()))
                await asyncio.sleep(0)
