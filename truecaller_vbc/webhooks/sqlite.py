"""Keep claims and stored events in an SQLite file, for the processes of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from ..errors import StoreError, StoreRefusedError
from ..files import open_private
from .claims import KEEP, MOST, ClaimState, lost

_T = TypeVar("_T")
_PRUNE_EVERY: Final = 60.0
_BUSY_SECONDS: Final = 1.0
# `until` is when a lease ends, when a stored event is due, or when a settled one is forgotten.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS vbc_webhooks
    (id TEXT PRIMARY KEY, settled INTEGER NOT NULL, owner TEXT, until REAL NOT NULL, body BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS vbc_webhooks_until ON vbc_webhooks (settled, until);
"""


class SQLiteClaims:
    """Keep claims, and the events of ``mode="store_then_run"``, in a file with mode 0600 that survives ``kill -9``.

    Every change is flushed to disk before it counts. All calls run in one thread of their own, never on the loop.

    Args:
        path: of the file; it is made if missing. Your own tables may be in it, for `Receiver.commit`.
        keep: seconds for which a settled event is remembered.
        most: how many events are remembered, and how many may wait.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str], *, keep: float = KEEP, most: int = MOST) -> None:
        self._path = Path(path)
        self._keep = keep
        self._most = most
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._prune_at = 0.0

    async def claim(self, event_id: str, owner: str, seconds: float) -> ClaimState:
        """Claim an event for `seconds`."""

        def work(connection: sqlite3.Connection) -> ClaimState:
            now = time.time()
            state = _state(connection, event_id, now)
            if state is ClaimState.GRANTED:
                values = (event_id, 0, owner, now + seconds, None)
                connection.execute("INSERT OR REPLACE INTO vbc_webhooks VALUES (?, ?, ?, ?, ?)", values)
            return state

        return await self._transact(work)

    async def settle(self, event_id: str, owner: str, work: Callable[[Any], object] | None = None) -> None:
        """Remember an event as handled; `work` gets the `sqlite3.Connection` of the same transaction.

        Raises:
            ClaimLostError: the claim has ended; nothing was done.
        """

        def settle(connection: sqlite3.Connection) -> None:
            until = time.time() + self._keep
            statement = (
                "UPDATE vbc_webhooks SET settled = 1, owner = NULL, body = NULL, until = ? WHERE id = ? AND owner = ?"
            )
            if connection.execute(statement, (until, event_id, owner)).rowcount != 1:
                raise lost(event_id)
            if work is not None:
                work(connection)
            self._prune(connection)

        await self._transact(settle)

    async def release(self, event_id: str, owner: str, delay: float = 0.0) -> None:
        """Give an event back; a stored one is due again after `delay` seconds."""

        def work(connection: sqlite3.Connection) -> None:
            mine = (event_id, owner)
            connection.execute("DELETE FROM vbc_webhooks WHERE id = ? AND owner = ? AND body IS NULL", mine)
            statement = "UPDATE vbc_webhooks SET owner = NULL, until = ? WHERE id = ? AND owner = ?"
            connection.execute(statement, (time.time() + delay, *mine))

        await self._transact(work)

    async def put(self, event_id: str, body: bytes) -> ClaimState:
        """Store an event durably, due at once."""

        def work(connection: sqlite3.Connection) -> ClaimState:
            now = time.time()
            state = _state(connection, event_id, now)
            if state is ClaimState.GRANTED:
                waiting = "SELECT count(*) FROM vbc_webhooks WHERE settled = 0"
                if connection.execute(waiting).fetchone()[0] >= self._most:
                    return ClaimState.RUNNING
                values = (event_id, 0, None, now, body)
                connection.execute("INSERT OR REPLACE INTO vbc_webhooks VALUES (?, ?, ?, ?, ?)", values)
            return state

        return await self._transact(work)

    async def take(self, owner: str, seconds: float) -> tuple[str, bytes] | None:
        """Claim the stored event that is due first, for `seconds`, and return its ID and body."""

        def work(connection: sqlite3.Connection) -> tuple[str, bytes] | None:
            now = time.time()
            due = (
                "SELECT id, body FROM vbc_webhooks WHERE settled = 0 AND until <= ? AND body IS NOT NULL ORDER BY until"
            )
            row: tuple[str, bytes] | None = connection.execute(due, (now,)).fetchone()
            if row is not None:
                statement = "UPDATE vbc_webhooks SET owner = ?, until = ? WHERE id = ?"
                connection.execute(statement, (owner, now + seconds, row[0]))
            return row

        return await self._transact(work)

    async def close(self) -> None:
        """Close the file."""
        if (thread := self._thread) is not None:
            self._thread = None
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown(wait=False)

    async def _transact(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "truecaller_vbc webhooks")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_transaction, work)

    # Run in the thread

    def _in_transaction(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with _convert_errors(self._path):
            if self._connection is None:
                self._connection = self._connect()
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
        except BaseException:
            connection.rollback()
            raise
        with _convert_errors(self._path):
            connection.commit()
        return result

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        open_private(self._path).close()  # SQLite gives its other files the mode of this one
        if os.name == "posix" and self._path.stat().st_mode & 0o077:
            raise StoreRefusedError(f"{self._path} can be read by others, and has phone numbers in it: chmod 600 it")
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _prune(self, connection: sqlite3.Connection) -> None:
        now = time.time()
        if now < self._prune_at:
            return
        self._prune_at = now + _PRUNE_EVERY
        connection.execute("DELETE FROM vbc_webhooks WHERE settled = 1 AND until <= ?", (now,))
        # A lease without a stored event ended long ago, and its event did not come again.
        old = "DELETE FROM vbc_webhooks WHERE settled = 0 AND body IS NULL AND until <= ?"
        connection.execute(old, (now - self._keep,))
        beyond = (
            "DELETE FROM vbc_webhooks WHERE id IN "
            "(SELECT id FROM vbc_webhooks WHERE settled = 1 ORDER BY until DESC LIMIT -1 OFFSET ?)"
        )
        connection.execute(beyond, (self._most,))

    def __repr__(self) -> str:
        return f"SQLiteClaims({str(self._path)!r})"


def _state(connection: sqlite3.Connection, event_id: str, now: float) -> ClaimState:
    """Return what is known of an event: a stored one counts as done, since it cannot be lost any more."""
    statement = "SELECT settled, until, body IS NOT NULL FROM vbc_webhooks WHERE id = ?"
    settled, until, stored = connection.execute(statement, (event_id,)).fetchone() or (False, 0.0, False)
    if stored or (settled and until > now):
        return ClaimState.DONE
    return ClaimState.RUNNING if until > now else ClaimState.GRANTED


@contextlib.contextmanager
def _convert_errors(path: Path) -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            raise StoreRefusedError(f"{path} is not an SQLite file: give seen= a file of its own") from None
        raise StoreError(f"{path} could not be used ({error})") from None
