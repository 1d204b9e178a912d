"""Store documents in Redis or Valkey, for the processes of several machines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import ssl
import time
import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Never, SupportsIndex

from ..errors import ConfigurationError, StoreError, StoreRefusedError
from ..secret import hidden
from .protocol import StoreUnusableError, revision_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

_TIMEOUT: Final = 2.0
# The document and the time of the server in one round trip: machines whose clocks differ share that one.
_READ: Final = """
local time = redis.call('TIME')
return {redis.call('GET', KEYS[1]), time[1], time[2]}
"""
# Compare and set in one step, so that a holder whose lease has ended cannot overwrite a newer document.
_WRITE: Final = """
local old = redis.call('GET', KEYS[1])
if old then
  local ok, document = pcall(cjson.decode, old)
  local revision = ok and type(document) == 'table' and document.revision
  -- One that is no revision, or is too high to be counted in Lua, is what anything may replace.
  if type(revision) == 'number' and revision % 1 == 0 and revision < 2^53 and revision >= tonumber(ARGV[2]) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
"""

# What no waiting mends, by the names of redis-py's errors and the words of the server, and what to do about it.
_REMEDIES: Final = {
    frozenset(
        {
            "AuthenticationError",
            "AuthenticationWrongNumberOfArgsError",
            "AuthorizationError",
            "without any password configured",
        }
    ): "check user and password in the store's URL",
    frozenset({"NoPermissionError", "NOPERM", "ACL failure", "can't run this command"}): (
        "allow its user GET, SET, EVAL, EVALSHA, TIME, PTTL and PEXPIRE on the keys of this store"
    ),
    frozenset({"OutOfMemoryError", "OOM"}): (
        "it is full and evicts nothing, so free memory, raise maxmemory, or set an eviction policy"
    ),
    frozenset({"WRONGTYPE"}): "another program uses its keys, so use another prefix or database",
    frozenset({"ReadOnlyError", "READONLY"}): "it is a read-only replica, so use the URL of the primary",
    frozenset({"MovedError", "MOVED"}): (
        "it is a node of a cluster, so give RedisStore a redis.asyncio.RedisCluster instead of a URL"
    ),
    frozenset({"MISCONF"}): "it cannot save to its disk and refuses writes, so mend that",
    frozenset({"DB index is out of range"}): "it has no database of this number, so use another one",
}
_CHECK_URL: Final = "check that the store's URL leads to a Redis or Valkey that allows scripts (EVAL)"
# Errors that are answered while a server starts, fails over or is busy.
_PASSING: Final = frozenset({"BusyLoadingError", "MaxClientsError", "TryAgainError", "ClusterDownError", "AskError"})
# The first words of those that redis-py has no class for; redis-py 5 has none for the last three.
_PASSING_ANSWERS: Final = ("BUSY", "NOREPLICAS", "UNKILLABLE", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN")


class RedisStore:
    """Keep documents in Redis or Valkey, for any number of machines.

    Both keys of an account share a hash tag, so that a cluster keeps them in one slot. Both expire automatically.

    Args:
        client: a URL (``redis://``, ``rediss://`` with TLS, with ``user:password@`` if need be), or a
            ``redis.asyncio.Redis`` of yours, which is never closed here and works on one event loop. With a URL the
            store has connections for each event loop that uses it, and closes them with the loop.
        prefix: of the keys.
        ttl: how long a document is kept after its last write. 2 h: longer than a token lives.

    Raises:
        ConfigurationError: redis-py is not installed, or the URL is invalid.
    """

    __slots__ = ("_clients", "_given", "_loop", "_prefix", "_process", "_server_time", "_ttl", "_url")

    def __init__(
        self,
        client: str | Redis,
        *,
        prefix: str = "truecaller_vbc",
        ttl: timedelta = timedelta(hours=2),
    ) -> None:
        client = hidden(client) if isinstance(client, str) else client  # tracebacks can show the locals of their frames
        self._url = client if isinstance(client, str) else None
        self._given: Any = None if isinstance(client, str) else client
        if self._url is not None:
            connect(self._url)  # an invalid URL is reported now
        # Connections belong to the process and the event loop that made them.
        self._process = os.getpid()
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Any, AsyncGenerator[None]]] = (
            weakref.WeakKeyDictionary()
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server_time: tuple[float, float] | None = None
        self._prefix = prefix
        self._ttl = int(ttl.total_seconds() * 1000)

    async def read(self, key: str) -> str | None:
        """Return the document at `key`, or None.

        Raises:
            StoreError: Redis did not answer.
        """
        with convert_errors():
            client = await self._client()
            text, seconds, microseconds = await client.eval(_READ, 1, self._name(key, "document"))
        self._server_time = (int(seconds) + int(microseconds) / 1e6, time.monotonic())
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else text

    async def now(self) -> float:
        """Return the time of the server in seconds since 1970, as it was told by the last `read`.

        Raises:
            StoreError: Redis did not answer.
        """
        if self._server_time is None:
            await self.read("")
            assert self._server_time is not None  # noqa: S101 - set by read
        then, measured = self._server_time
        return then + time.monotonic() - measured

    async def write(self, key: str, document: str) -> bool:
        """Store `document` at `key` unless the stored one is newer; then return False.

        Raises:
            StoreError: Redis did not answer.
        """
        document = hidden(document)  # tracebacks can show the locals of their frames
        name = self._name(key, "document")
        with convert_errors():
            client = await self._client()
            return bool(await client.eval(_WRITE, 1, name, document, revision_of(document), self._ttl))

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        """Yield True if the lock was acquired, for `seconds` at most.

        Raises:
            StoreError: Redis did not answer.
        """
        with convert_errors():
            client = await self._client()
        lock = client.lock(self._name(key, "lease"), timeout=seconds, blocking=False, thread_local=False)
        token = secrets.token_hex(16)
        try:
            with convert_errors():
                granted: bool = await lock.acquire(blocking=False, token=token)
        except BaseException:
            # The server may have stored the lock although its answer was lost, so release it.
            lock.local.token = token.encode()
            await _release(lock)
            raise
        if not granted:
            await _end_after(client, lock.name, seconds)
        try:
            yield granted
        finally:
            if granted:
                await _release(lock)

    async def close(self) -> None:
        """Close the connections of the running event loop, if this store made them."""
        if (entry := self._clients.pop(asyncio.get_running_loop(), None)) is not None:
            with contextlib.suppress(RuntimeError):  # the loop ends, and is closing it already
                await entry[1].aclose()

    async def _client(self) -> Any:
        """Return the client of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._given is not None:
            if self._process != os.getpid() or self._loop not in (None, loop):
                raise StoreUnusableError(
                    "this RedisStore was given a client that belongs to another event loop or process: give it a URL, "
                    "or make a store with a client of its own for each"
                )
            self._loop = loop
            return self._given
        if self._process != os.getpid():
            # The parent's connections are its own; the copies here are never used or closed.
            _inherited.append(self._clients)
            self._process, self._clients = os.getpid(), weakref.WeakKeyDictionary()
        if (entry := self._clients.get(loop)) is None:
            assert self._url is not None  # noqa: S101 - one of the two was given
            client = connect(self._url)
            # asyncio closes its generators when the loop ends, and this one closes the connections.
            guard = _close_at_the_end(client)
            await anext(guard)
            self._clients[loop] = entry = (client, guard)
        return entry[0]

    def __reduce_ex__(self, protocol: SupportsIndex) -> Never:
        raise StoreRefusedError(
            "a RedisStore cannot be copied or sent to another process: make one there, with the same URL"
        )

    def _name(self, key: str, kind: str) -> str:
        return f"{{{self._prefix}:{key}}}:{kind}"

    def __repr__(self) -> str:
        return f"RedisStore(prefix={getattr(self, '_prefix', '')!r})"


def connect(url: str) -> Any:
    """Return a new client for a URL, which no error quotes.

    Raises:
        ConfigurationError: redis-py is not installed, or the URL is invalid.
    """
    try:
        import redis.asyncio  # noqa: PLC0415 - an optional dependency that takes 200 ms to import
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import ReadOnlyError  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError("redis:// needs redis-py: pip install 'truecaller_vbc[redis]'") from None
    # After a failover the old master refuses writes: its connections must be dropped.
    client = _client_from_url(redis.asyncio.Redis, url, retry=Retry(NoBackoff(), 1), retry_on_error=[ReadOnlyError])
    if client is None:
        raise ConfigurationError(
            "the store's URL, or an option in it, is none that redis-py knows: use redis://host:6379/0, or rediss:// "
            "with TLS"
        )
    return client


def _client_from_url(kind: Any, url: str, **options: Any) -> Any:
    """Return a client, or None for an invalid URL, since redis-py's error may quote the password in it."""
    if url.startswith("rediss:") and "ssl_cert_reqs" not in url:
        options["ssl_check_hostname"] = True  # the default since redis-py 6; an option of the URL takes precedence
    try:
        client = kind.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, **options)
        # Otherwise an unknown option would fail later, at each new connection.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except Exception:
        return None
    return client


_inherited: Final[list[object]] = []


async def _close_at_the_end(client: Any) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        with contextlib.suppress(Exception):
            await client.aclose()


@contextlib.contextmanager
def convert_errors(*passing: type[Exception]) -> Generator[None]:
    """Convert redis-py's errors, but for those that are `passing`, to `StoreError`, without quoting anything."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (StoreError, *passing)):
            raise
        if (remedy := _remedy(error)) is not None:
            raise StoreUnusableError(f"Redis refuses this store ({type(error).__name__}): {remedy}") from None
        raise StoreError(f"Redis did not answer ({type(error).__name__})") from None


def _remedy(error: Exception) -> str | None:
    """Return what to do about an error that no waiting mends; None for an outage."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = str(error)[:500]
    for signs, remedy in _REMEDIES.items():
        if kinds & signs or any(sign in text for sign in signs):
            return remedy
    if isinstance(error.__cause__ or error.__context__, ssl.SSLError):
        return "check its certificate, and that the port is the one for TLS"
    is_an_answer = bool(kinds & {"ResponseError", "InvalidResponse"})
    return None if kinds & _PASSING or text.startswith(_PASSING_ANSWERS) or not is_an_answer else _CHECK_URL


async def _end_after(client: Any, name: str, seconds: float) -> None:
    """Give a lease that has lost its time limit, as in a restored copy of the data, a new one."""
    with contextlib.suppress(Exception):
        if await client.pttl(name) == -1:
            await client.pexpire(name, max(1, int(seconds * 1000)))


async def _release(lock: Any) -> None:
    """Release the lock, even while the task is cancelled; a lock that has ended or belongs to another holder stays."""
    with contextlib.suppress(Exception):
        await asyncio.shield(asyncio.wait_for(lock.release(), _TIMEOUT))
