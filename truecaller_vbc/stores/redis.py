"""Store documents in Redis or Valkey, for the processes of several machines."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigurationError, StoreError
from ..secret import hidden
from .protocol import revision_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

_TIMEOUT: Final = 2.0
# Compare and set in one step, so that a holder whose lease has ended cannot overwrite a newer document.
_WRITE: Final = """
local old = redis.call('GET', KEYS[1])
if old then
  local ok, document = pcall(cjson.decode, old)
  local revision = ok and type(document) == 'table' and document.revision
  -- One that is no revision, or is out of range, is what anything may replace: see revision_of.
  if type(revision) == 'number' and revision % 1 == 0 and revision < 2^52 and revision >= tonumber(ARGV[2]) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
"""


class RedisStore:
    """Keep documents in Redis or Valkey, for any number of machines.

    Both keys of an account share a hash tag, so that a cluster keeps them in one slot. Both expire automatically.

    Args:
        client: a URL (``redis://``, ``rediss://`` with TLS, with ``user:password@`` if need be), or a
            ``redis.asyncio.Redis`` of yours, which is never closed here. A store that you made yourself from a URL is
            yours to `close`, on each event loop that used it: its connections belong to that loop.
        prefix: of the keys.
        ttl: how long a document is kept after its last write. 2 h: longer than a token lives.

    Raises:
        ConfigurationError: redis-py is not installed, or the URL is invalid.
    """

    __slots__ = ("_client", "_ours", "_prefix", "_ttl")

    def __init__(
        self,
        client: str | Redis,
        *,
        prefix: str = "truecaller_vbc",
        ttl: timedelta = timedelta(hours=2),
    ) -> None:
        self._ours = isinstance(client, str)
        client = hidden(client) if isinstance(client, str) else client
        self._client: Any = _connect(client) if isinstance(client, str) else client
        self._prefix = prefix
        self._ttl = int(ttl.total_seconds() * 1000)

    async def read(self, key: str) -> str | None:
        """Return the document at `key`, or None.

        Raises:
            StoreError: Redis did not answer.
        """
        with _convert_errors():
            text = await self._client.get(self._name(key, "document"))
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else text

    async def write(self, key: str, document: str) -> bool:
        """Store `document` at `key` unless the stored one is newer; then return False.

        Raises:
            StoreError: Redis did not answer.
        """
        document = hidden(document)  # tracebacks can show the locals of their frames
        name = self._name(key, "document")
        with _convert_errors():
            return bool(await self._client.eval(_WRITE, 1, name, document, revision_of(document), self._ttl))

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> AsyncGenerator[bool]:
        """Yield True if the lock was acquired, for `seconds` at most.

        Raises:
            StoreError: Redis did not answer.
        """
        lock = self._client.lock(self._name(key, "lease"), timeout=seconds, blocking=False, thread_local=False)
        token = secrets.token_hex(16)
        try:
            with _convert_errors():
                granted: bool = await lock.acquire(blocking=False, token=token)
        except BaseException:
            # The server may have stored the lock although its answer was lost, so release it.
            lock.local.token = token.encode()
            await _release(lock)
            raise
        try:
            yield granted
        finally:
            if granted:
                await _release(lock)

    async def close(self) -> None:
        """Close the connections, if this store created the client."""
        if self._ours:
            await self._client.aclose()

    def _name(self, key: str, kind: str) -> str:
        return f"{{{self._prefix}:{key}}}:{kind}"

    def __repr__(self) -> str:
        return f"RedisStore(prefix={getattr(self, '_prefix', '')!r})"


def _connect(url: str) -> Any:
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
    try:
        client = kind.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, **options)
        # Otherwise an unknown option would fail later, at each new connection.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except Exception:
        return None
    return client


@contextlib.contextmanager
def _convert_errors() -> Generator[None]:
    """Convert redis-py's errors to `StoreError`, without quoting anything."""
    try:
        yield
    except Exception as error:
        raise StoreError(f"Redis did not answer ({type(error).__name__})") from None


async def _release(lock: Any) -> None:
    """Release the lock, even while the task is cancelled; a lock that has ended or belongs to another holder stays."""
    with contextlib.suppress(Exception):
        await asyncio.shield(asyncio.wait_for(lock.release(), _TIMEOUT))
