"""Keep claims and stored events in Redis or Valkey, for the processes of several machines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from ..secret import SecretBytes, hidden
from ..stores.redis import connect, convert_errors
from .claims import KEEP, MOST, ClaimState, lost

# KEYS: settled (by the time at which each is forgotten), due (stored events by time), bodies of stored events,
# the owner of this event. ARGV: the event's ID, the owner, milliseconds, then what each script takes.
_NOW: Final = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
_CLAIM: Final = f"""{_NOW}
local forget = redis.call('ZSCORE', KEYS[1], ARGV[1])
if (forget and tonumber(forget) > now) or redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then return 2 end
if not ARGV[5] then return redis.call('SET', KEYS[4], ARGV[2], 'NX', 'PX', ARGV[3]) and 0 or 1 end
if redis.call('EXISTS', KEYS[4]) == 1 or redis.call('HLEN', KEYS[3]) >= tonumber(ARGV[4]) then return 1 end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[5])
redis.call('ZADD', KEYS[2], now, ARGV[1])
return 0
"""
# Here KEYS[4] is the owner's key without the ID, since the script itself finds the ID.
_TAKE: Final = f"""{_NOW}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 16)) do
  if redis.call('SET', KEYS[4] .. id, ARGV[2], 'NX', 'PX', ARGV[3]) then
    redis.call('ZADD', KEYS[2], now + ARGV[3], id)
    return {{id, redis.call('HGET', KEYS[3], id)}}
  end
end
"""
_SETTLE: Final = f"""
local owner = redis.call('GET', KEYS[4])
-- A lease that ended without another claim does no harm; in a transaction, another claim has stopped it before.
if owner and owner ~= ARGV[2] then return 0 end
{_NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[4])
return 1
"""
_RELEASE: Final = f"""
if redis.call('GET', KEYS[4]) ~= ARGV[2] then return end
{_NOW}
redis.call('DEL', KEYS[4])
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1]) end
"""
_STATES: Final[tuple[ClaimState, ...]] = (ClaimState.GRANTED, ClaimState.RUNNING, ClaimState.DONE)


class RedisClaims:
    """Keep claims, and the events of ``mode="store_then_run"``, in Redis or Valkey, for any number of receivers.

    All keys share a hash tag. What is stored survives as much as that Redis does: set ``appendonly yes`` and
    ``maxmemory-policy noeviction`` there.

    Args:
        url: ``redis://``, or ``rediss://`` with TLS. Connections belong to the running loop; `close` closes them.
        prefix: of the keys.
        keep: seconds for which a settled event is remembered.
        most: how many events are remembered, and how many may wait.

    Raises:
        ConfigurationError: redis-py is not installed, or the URL is invalid.
    """

    def __init__(
        self, url: str, *, prefix: str = "truecaller_vbc:webhooks", keep: float = KEEP, most: int = MOST
    ) -> None:
        self._url = hidden(url)
        self._client: Any = connect(self._url)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._prefix = prefix
        self._keep = keep
        self._most = most

    async def claim(self, event_id: str, owner: str, seconds: float, body: bytes | None = None) -> ClaimState:
        """Claim an event for `seconds`. With a `body`, store it instead, due at once."""
        more = () if body is None else (body,)
        state: int = await self._run(_CLAIM, event_id, owner, seconds, self._most, *more)
        return _STATES[state]

    async def settle(self, event_id: str, owner: str, work: Callable[[Any], object] | None = None) -> None:
        """Remember an event as handled; `work` queues commands on the pipeline (MULTI) of the same transaction.

        Raises:
            ClaimLostError: the claim has ended; nothing was done.
        """
        if work is None and await self._run(_SETTLE, event_id, owner, self._keep, self._most):
            return
        from redis.exceptions import WatchError  # noqa: PLC0415 - an optional dependency

        keys = self._keys(event_id)
        async with self._connected().pipeline(transaction=True) as pipe:
            with convert_errors():
                await pipe.watch(keys[-1])
                held = await pipe.get(keys[-1])
            if work is None or held != owner.encode():
                raise lost(event_id)
            pipe.multi()
            work(pipe)
            pipe.eval(_SETTLE, len(keys), *keys, event_id, owner, int(self._keep * 1000), self._most)
            try:
                with convert_errors(WatchError):
                    await pipe.execute()
            except WatchError:
                raise lost(event_id) from None

    async def release(self, event_id: str, owner: str, delay: float) -> None:
        """Give an event back; a stored one is due again after `delay` seconds."""
        await self._run(_RELEASE, event_id, owner, delay)

    async def take(self, owner: str, seconds: float) -> tuple[str, bytes] | None:
        """Claim a stored event that is due, for `seconds`, and return its ID and body."""
        taken: list[bytes] | None = await self._run(_TAKE, "", owner, seconds)
        return None if taken is None else (taken[0].decode(), SecretBytes(taken[1]))

    async def close(self) -> None:
        """Close the connections, if they were made here."""
        if self._loop is not None:
            self._loop = None
            await self._client.aclose()

    def _connected(self) -> Any:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections belong to the loop that made them
            self._client, self._loop = connect(self._url), loop
        return self._client

    def _keys(self, event_id: str) -> list[str]:
        tag = f"{{{self._prefix}}}"
        return [f"{tag}:settled", f"{tag}:due", f"{tag}:bodies", f"{tag}:owner:{event_id}"]

    async def _run(self, script: str, event_id: str, owner: str, seconds: float, *more: Any) -> Any:
        keys = self._keys(event_id)
        with convert_errors():
            return await self._connected().eval(script, len(keys), *keys, event_id, owner, int(seconds * 1000), *more)
