"""Keep the state of one push in one SQLite file: what it pushes, its batches, and what became of each record."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import secrets
import shutil
import sqlite3
import zlib
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple, TypeAlias

import attrs

from ...api.calls import MAX_RECORDS
from ...errors import ConfigurationError, VBCError
from ...files import flush_directory, open_private

BatchState: TypeAlias = Literal["open", "sending", "acknowledged", "refused", "unknown", "unsent", "invalid"]
PENDING: Final = ("open", "unsent")
IN_DOUBT: Final = ("sending", "unknown")

STDIN: Final = "-"
OUTCOMES: Final[tuple[str, ...]] = ("success", "failed", "acknowledged", "refused", "unknown", "unsent", "invalid")
_APPLICATION_ID: Final = 0x54565043
_VERSION: Final = 1
_BLOCK: Final = 1024 * 1024
_SCHEMA: Final = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE push (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE batches (
    first INTEGER PRIMARY KEY, size INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'open', batch_id TEXT,
    error TEXT, changed INTEGER NOT NULL DEFAULT 0, final INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE records (position INTEGER PRIMARY KEY, outcome TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE input (part INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""
_BATCH: Final = "first, size, state, batch_id, error, final"
_BATCHES_BY_OUTCOME: Final = """
SELECT first, SUM(size - (SELECT COUNT(*) FROM records WHERE position >= first AND position < first + size)),
    state, batch_id, error, final FROM batches GROUP BY state, error, final
"""
_RECORDS_BY_OUTCOME: Final = "SELECT outcome, reason, COUNT(*) FROM records GROUP BY outcome, reason"


class StateError(VBCError):
    """Report that the state cannot be written, so nothing may be sent."""


class BatchRow(NamedTuple):
    """Hold one batch: consecutive rows of the input, invalid ones included.

    Attributes:
        first: position of its first row in the input, counted from 0.
        size: number of rows.
        state: what became of it.
        batch_id: the API's ID, once it is acknowledged.
        error: why it was not.
        final: 1 if the API has told the outcome of all of its records, else 0.
    """

    first: int
    size: int
    state: BatchState
    batch_id: str | None = None
    error: str | None = None
    final: int = 0

    @property
    def outcome(self) -> str:
        """Return the outcome of its rows, except for those that have their own."""
        if self.final:
            return "success"
        return {"open": "unsent", "sending": "unknown"}.get(self.state, self.state)


@attrs.frozen(kw_only=True)
class PushFacts:
    """Describe what a push sends, and where to.

    Args:
        fingerprint: SHA-256 of the input, in hex.
        records: rows of the input.
        rules: everything that decides which record is made of a row.
        account: ID of the account.
        base_url: of the API.
        version: of the batch endpoint.
        input: name of the input.
        begun: when the push began, in ISO 8601.
    """

    fingerprint: str
    records: int
    rules: Mapping[str, Any]
    account: str
    base_url: str
    version: Literal["v3", "v2"] = "v3"
    input: str = ""
    begun: str = attrs.field(factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class PushState:
    """Read and write the state of a push, whose file this process has locked.

    Args:
        path: of the file, for messages.
        database: open and locked.

    Raises:
        ConfigurationError: the file is damaged.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path = path
        self._database = database
        facts = {name: json.loads(value) for name, value in database.execute("SELECT name, value FROM push")}
        self.facts: PushFacts = PushFacts(**facts)
        count, rows, first = database.execute("SELECT COUNT(*), SUM(size), MIN(first) FROM batches").fetchone()
        if count and (rows, first) != (self.facts.records, 0):
            raise _damaged(path)
        self._changed = database.execute("SELECT MAX(changed) FROM batches").fetchone()[0] or 0

    @property
    def is_finished(self) -> bool:
        """Tell whether no batch is left to send."""
        return not self.batches(*PENDING)

    @property
    def has_sent_nothing(self) -> bool:
        """Tell whether no byte of any batch has left."""
        return not self.batches("sending", "acknowledged", "refused", "unknown")

    @property
    def is_in_doubt(self) -> bool:
        """Tell whether an answer was lost and no batch has been acknowledged since."""
        marks = dict(self._database.execute("SELECT state, MAX(changed) FROM batches GROUP BY state"))
        return bool(max(marks.get(state, 0) for state in IN_DOUBT) > marks.get("acknowledged", 0))

    def batches(self, *states: BatchState) -> list[BatchRow]:
        """Return the batches in these states, or all, in the order of the input."""
        found = map(BatchRow._make, self._database.execute(f"SELECT {_BATCH} FROM batches ORDER BY first"))  # noqa: S608
        return [batch for batch in found if not states or batch.state in states]

    def outcomes(self, batch: BatchRow) -> dict[int, tuple[str, str]]:
        """Return outcome and reason of the batch's rows that differ from the batch itself, by position."""
        found = self._database.execute(
            "SELECT position, outcome, reason FROM records WHERE position >= ? AND position < ?", _positions(batch)
        )
        return {position: (outcome, reason) for position, outcome, reason in found}

    def totals(self) -> dict[str, int]:
        """Count the rows by outcome: success, failed, acknowledged, refused, unknown, unsent, invalid."""
        counts: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        for (outcome, _), rows in self._counts().items():
            counts[outcome] += rows
        return counts

    def reasons(self) -> dict[tuple[str, str], int]:
        """Count the rows by outcome and reason, for the outcomes that have a reason."""
        return {told: rows for told, rows in self._counts().items() if told[1]}

    def _counts(self) -> Counter[tuple[str, str]]:
        counts = Counter[tuple[str, str]]()
        for batch in map(BatchRow._make, self._database.execute(_BATCHES_BY_OUTCOME)):
            counts[batch.outcome, batch.error or ""] += batch.size
        for outcome, reason, rows in self._database.execute(_RECORDS_BY_OUTCOME):
            counts[outcome, reason] += rows
        return counts

    def sending(self, batch: BatchRow, invalid: Mapping[int, str]) -> None:
        """Record durably that a batch is about to be sent.

        Raises:
            StateError: it cannot be recorded, so the batch must not be sent.
        """
        self._enter(batch._replace(state="sending", batch_id=None, error=None), invalid)

    def answered(self, batch: BatchRow, invalid: Mapping[int, str]) -> None:
        """Record durably what became of a batch.

        Raises:
            StateError: it cannot be recorded; if the batch was sent, its outcome is unknown.
        """
        self._enter(batch, invalid)

    def split(self, batch: BatchRow, size: int) -> tuple[BatchRow, BatchRow]:
        """Cut a batch that was surely not taken into its first `size` rows and the others."""
        rest = batch._replace(state="open", error=None)
        parts = rest._replace(size=size), rest._replace(first=batch.first + size, size=batch.size - size)
        with self._transaction():
            self._database.execute("DELETE FROM batches WHERE first = ?", (batch.first,))
            _insert(self._database, parts)
        return parts

    def reopen_unknown(self) -> int:
        """Let the batches in doubt be sent once more, and return the number of their rows."""
        rows = sum(batch.size for batch in self.batches(*IN_DOUBT))
        with self._transaction():
            self._database.execute(
                "UPDATE batches SET state = 'open', error = NULL WHERE state IN ('sending', 'unknown')"
            )
        return rows

    def told(self, batch: BatchRow, outcomes: Mapping[int, tuple[str, str]], *, final: bool) -> None:
        """Record what the API tells of an acknowledged batch's records: ``success`` or ``failed``, and why."""
        with self._transaction():
            self._database.execute(
                "DELETE FROM records WHERE position >= ? AND position < ? AND outcome <> 'invalid'", _positions(batch)
            )
            # In a batch that is final as a whole, success goes without saying.
            kept = [(at, *told) for at, told in outcomes.items() if not final or told[0] != "success"]
            self._database.executemany("INSERT OR IGNORE INTO records VALUES (?, ?, ?)", kept)
            self._database.execute("UPDATE batches SET final = ? WHERE first = ?", (final, batch.first))

    def copy_input(self, file: IO[bytes]) -> bool:
        """Write the kept standard input into a file, and tell whether there is any."""
        for (data,) in self._database.execute("SELECT data FROM input ORDER BY part"):
            file.write(zlib.decompress(data))
        file.flush()
        return file.tell() > 0

    def _enter(self, batch: BatchRow, invalid: Mapping[int, str]) -> None:
        self._changed += 1
        with self._transaction():
            self._database.execute(
                "UPDATE batches SET state = ?, batch_id = ?, error = ?, changed = ? WHERE first = ?",
                (batch.state, batch.batch_id, batch.error, self._changed, batch.first),
            )
            self._database.execute("DELETE FROM records WHERE position >= ? AND position < ?", _positions(batch))
            self._database.executemany("INSERT INTO records VALUES (?, 'invalid', ?)", invalid.items())

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        try:
            with self._database:
                yield
        except sqlite3.Error as error:
            raise StateError(
                f"the state {self.path} cannot be written ({error}): nothing more is sent; make room, and run the same "
                "command again"
            ) from None


def _positions(batch: BatchRow) -> tuple[int, int]:
    return batch.first, batch.first + batch.size


def _insert(database: sqlite3.Connection, batches: Iterable[BatchRow]) -> None:
    database.executemany("INSERT INTO batches (first, size) VALUES (?, ?)", ((it.first, it.size) for it in batches))


def is_state(path: Path) -> bool:
    """Tell whether a file is the state of a push, whatever its name."""
    if not path.is_file():
        return False  # opening a pipe waits for its writer
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(72)
        return head.startswith(b"SQLite format 3\0") and head[68:72] == _APPLICATION_ID.to_bytes(4, "big")
    return False


@contextlib.contextmanager
def open_state(path: Path) -> Generator[PushState]:
    """Open and lock the state of a push.

    Raises:
        ConfigurationError: the file is missing, is used by another run, or is damaged, foreign or newer.
    """
    _check_file(path)
    with contextlib.closing(sqlite3.connect(path, isolation_level="IMMEDIATE", timeout=0)) as database:
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA synchronous = EXTRA")
            # The first write takes the lock, and the process keeps it until it ends.
            database.execute("BEGIN EXCLUSIVE")
            database.execute("COMMIT")
            if database.execute("PRAGMA user_version").fetchone()[0] > _VERSION:
                raise ConfigurationError(
                    f"{path} was written by a newer version of truecaller-vbc: nothing is sent; update this one, or "
                    "name another state with --state"
                )
            if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise _damaged(path)
            state = PushState(path, database)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise ConfigurationError(f"another run is using {path}: wait until it has ended") from None
            raise ConfigurationError(
                f"the state {path} cannot be used ({error}): make it and its directory writable, or name another state "
                "with --state"
            ) from None
        except (sqlite3.DatabaseError, json.JSONDecodeError, TypeError):
            raise _damaged(path) from None
        yield state


def create_state(path: Path, facts: PushFacts, stdin: IO[bytes] | None = None) -> None:
    """Create the state of a push of which nothing was sent yet; an existing file is never replaced.

    Args:
        path: its place.
        facts: what is pushed.
        stdin: a copy of standard input, to be kept in the state.

    Raises:
        ConfigurationError: it cannot be created.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        # SQLite would create the file with the process's umask; others must not read it.
        open_private(temporary, new=True).close()
        with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as database:
            database.executescript(f"BEGIN;{_SCHEMA}")
            for name, value in attrs.asdict(facts).items():
                database.execute("INSERT INTO push VALUES (?, ?)", (name, json.dumps(value)))
            starts = range(0, facts.records, MAX_RECORDS)
            _insert(database, (BatchRow(it, min(MAX_RECORDS, facts.records - it), "open") for it in starts))
            if stdin is not None:
                stdin.seek(0)
                blocks = iter(functools.partial(stdin.read, _BLOCK), b"")
                database.executemany("INSERT INTO input (data) VALUES (?)", ((zlib.compress(it),) for it in blocks))
            database.execute("COMMIT")
        _link(temporary, path)
        flush_directory(path.parent)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"the state {path} cannot be created ({reason}): name a place that you can write to with --state"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename the state of an earlier push to FILE.push.DATE, and return its new name."""
    day = datetime.fromtimestamp(path.stat().st_mtime).astimezone().strftime("%Y-%m-%d")
    suffixes = itertools.chain([""], (f".{count}" for count in itertools.count(2)))
    names = (path.with_name(f"{path.name}.{day}{suffix}") for suffix in suffixes)
    kept = next(name for name in names if not name.exists())
    _link(path, kept)
    path.unlink()
    flush_directory(path.parent)
    return kept


def _link(path: Path, name: Path) -> None:
    """Give a file a further name that must be free."""
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with path.open("rb") as source, open_private(name, new=True) as copy:
            shutil.copyfileobj(source, copy, _BLOCK)
            copy.flush()
            os.fsync(copy.fileno())


def _check_file(path: Path) -> None:
    """Check what can be told without SQLite, which would take an empty file for a new database."""
    if not path.exists():
        raise ConfigurationError(f"there is no state of a push at {path}: name it with --state, or push the file first")
    if not path.is_file():
        raise ConfigurationError(f"{path} is no file: name another state with --state")
    try:
        with path.open("rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise ConfigurationError(f"the state {path} cannot be read ({error.strerror}): make it readable") from None
    if is_empty:
        raise _damaged(path)
    if not is_state(path):
        raise ConfigurationError(f"{path} is another kind of file: nothing is sent; name another state with --state")


def _damaged(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"the state {path} is damaged (it is incomplete or was changed): what was sent cannot be told, so nothing is "
        "sent. Restore it from a backup, or name another state with --state, which would send all records again"
    )


def facts_differ(before: PushFacts, now: PushFacts) -> list[str]:
    """Name what differs between two pushes of the same input."""
    names = [name for name in ("account", "base_url", "version") if getattr(before, name) != getattr(now, name)]
    old, new = before.rules, now.rules
    return [*names, *sorted(name for name in {*old, *new} if old.get(name) != new.get(name))]
