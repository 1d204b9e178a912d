"""Keep claims and stored events in an SQLite file, for the processes of one machine."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from ..errors import StoreError, StoreRefusedError
from ..files import open_private
from ..secret import SecretBytes
from .claims import KEEP, MOST, ClaimState, lost

_T = TypeVar("_T")
_PRUNE_EVERY: Final = 60.0
# `until` is when a lease ends, when a stored event is due, or when a settled one is forgotten.
_SCHEMA: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS vbc_webhooks
    (id TEXT PRIMARY KEY, settled INTEGER NOT NULL, owner TEXT, until REAL NOT NULL, body BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS vbc_webhooks_until ON vbc_webhooks (settled, until);
"""
_FIND: Final = "SELECT settled, until, body NOTNULL FROM vbc_webhooks WHERE id = ?"
_COUNT: Final = "SELECT count(*) FROM vbc_webhooks WHERE settled = 0"
_INSERT: Final = "INSERT OR REPLACE INTO vbc_webhooks (settled, id, owner, until, body) VALUES (0, ?, ?, ?, ?)"
_SETTLE: Final = "UPDATE vbc_webhooks SET settled = 1, owner = '', body = NULL, until = ? WHERE id = ? AND owner = ?"
# A claim without a body has ended with that.
_RELEASE: Final = """
UPDATE vbc_webhooks SET owner = '', until = ? * (body NOTNULL) WHERE id = ? AND owner = ? AND settled = 0
"""
_TAKE: Final = """
UPDATE vbc_webhooks SET owner = ?, until = ? WHERE id =
    (SELECT id FROM vbc_webhooks WHERE settled = 0 AND until <= ? AND body NOTNULL ORDER BY until LIMIT 1)
    RETURNING id, body
"""
# Settled events after their time, leases whose events did not come again, and what is beyond the most.
_PRUNE: Final = """
DELETE FROM vbc_webhooks WHERE (body ISNULL AND until <= ? - ? * (settled = 0)) OR id IN
    (SELECT id FROM vbc_webhooks WHERE settled = 1 ORDER BY until DESC LIMIT -1 OFFSET ?)
"""


class SQLiteClaims:
    """Keep claims, and the events of ``mode="store_then_run"``, in a file with mode 0600 that survives ``kill -9``.

    Every change is flushed to disk before it counts. All calls run in one thread of their own, never on the loop.

    Args:
        path: of the file; it is made if missing. Your own tables may be in it, for `Receiver.commit`.
        keep: seconds for which a settled event is remembered.
        most: how many events are remembered, and how many may wait.
    """

    def __init__(self, path: str | os.PathLike[str], *, keep: float = KEEP, most: int = MOST) -> None:
        self._path = Path(path)
        self._keep = keep
        self._most = most
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, "truecaller_vbc webhooks")  # it starts with the first call
        self._prune_at = 0.0

    async def claim(self, event_id: str, owner: str, seconds: float, body: bytes | None = None) -> ClaimState:
        """Claim an event for `seconds`. With a `body`, store it instead, due at once."""

        def work(connection: sqlite3.Connection) -> ClaimState:
            now = time.time()
            settled, until, stored = connection.execute(_FIND, (event_id,)).fetchone() or (False, 0.0, False)
            # A stored event counts as done, since it cannot be lost any more.
            if stored or (settled and until > now):
                return ClaimState.DONE
            if until > now or (body is not None and connection.execute(_COUNT).fetchone()[0] >= self._most):
                return ClaimState.RUNNING
            connection.execute(_INSERT, (event_id, owner, now + seconds if body is None else now, body))
            return ClaimState.GRANTED

        return await self._transact(work)

    async def settle(self, event_id: str, owner: str, work: Callable[[Any], object] | None = None) -> None:
        """Remember an event as handled; `work` gets the `sqlite3.Connection` of the same transaction.

        Raises:
            ClaimLostError: the claim has ended; nothing was done.
        """

        def settle(connection: sqlite3.Connection) -> None:
            if connection.execute(_SETTLE, (time.time() + self._keep, event_id, owner)).rowcount != 1:
                raise lost(event_id)
            if work is not None:
                work(connection)
            if (now := time.time()) >= self._prune_at:
                self._prune_at = now + _PRUNE_EVERY
                connection.execute(_PRUNE, (now, self._keep, self._most))

        await self._transact(settle)

    async def release(self, event_id: str, owner: str, delay: float) -> None:
        """Give an event back; a stored one is due again after `delay` seconds."""
        values = (time.time() + delay, event_id, owner)
        await self._transact(lambda connection: connection.execute(_RELEASE, values))

    async def take(self, owner: str, seconds: float) -> tuple[str, bytes] | None:
        """Claim the stored event that is due first, for `seconds`, and return its ID and body."""
        now = time.time()
        values = (owner, now + seconds, now)
        taken = await self._transact(lambda connection: connection.execute(_TAKE, values).fetchone())
        return None if taken is None else (taken[0], SecretBytes(taken[1]))

    async def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
            self._connection = None

    async def _transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_transaction, work)

    # Run in the thread

    def _in_transaction(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                return work(connection)
        except (sqlite3.OperationalError, OSError) as error:
            raise StoreError(f"{self._path} could not be used ({error})") from None
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise  # from the caller's own statements
            raise StoreRefusedError(f"{self._path} is not an SQLite file: give seen= a file of its own") from None

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        open_private(self._path).close()  # SQLite gives its other files the mode of this one
        if os.name == "posix" and self._path.stat().st_mode & 0o077:
            raise StoreRefusedError(f"{self._path} can be read by others, and has phone numbers in it: chmod 600 it")
        connection = sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
        try:
            connection.executescript(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection
