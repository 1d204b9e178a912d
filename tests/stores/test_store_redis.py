"""Keys, expiry, leases and secrets of the Redis store, and the error without redis-py."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from truecaller_vbc import ConfigurationError, RedisStore, StoreError, VBCSession
from truecaller_vbc.sandbox import Sandbox

from ..redis_server import redis_server, redis_url

KEY = "k" * 32
DOCUMENT = json.dumps({"revision": 1})


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_url() as it:
        yield it


@pytest.fixture
async def client(url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(url) as it:
        await it.flushdb()
        yield it


async def test_keys_expire(client: Redis) -> None:
    """Both keys expire, and share a hash tag, so that a cluster keeps them on one node."""
    store = RedisStore(client, ttl=timedelta(seconds=100))
    await store.write(KEY, DOCUMENT)
    async with store.lease(KEY, 30):
        names = sorted(str(name, "ascii") for name in await client.keys() if isinstance(name, bytes))
        ttls = [await client.pttl(name) for name in names]

    assert names == [f"{{truecaller_vbc:{KEY}}}:document", f"{{truecaller_vbc:{KEY}}}:lease"]
    assert 90_000 < ttls[0] <= 100_000
    assert 20_000 < ttls[1] <= 30_000
    assert len(await client.keys()) == 1


async def test_document_is_kept_for_longer_than_a_token_lives(client: Redis) -> None:
    """A document is kept for two hours by default, so that a fleet that was idle for an hour finds its ledger."""
    await RedisStore(client).write(KEY, DOCUMENT)

    assert 7_100_000 < await client.pttl(f"{{truecaller_vbc:{KEY}}}:document") <= 7_200_000


async def test_lease_that_has_run_out_is_not_taken_from_its_next_owner(client: Redis) -> None:
    """An owner that is late does not release the lease of the next owner."""
    store = RedisStore(client)
    async with store.lease(KEY, 0.05) as late:
        assert late
        await asyncio.sleep(0.1)
        async with store.lease(KEY, 30) as owner:
            assert owner
            await _leave(store, late=True)
            async with store.lease(KEY, 30) as third:
                assert not third


async def _leave(store: RedisStore, *, late: bool) -> None:
    """Enter and leave a lease that is not granted."""
    async with store.lease(KEY, 30) as granted:
        assert granted is not late


class SlowReplies:
    """A proxy in front of Redis that can hold back its replies."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2].partition("/")[0])
        self.hold = asyncio.Event()
        self.hold.set()
        self.held = asyncio.Event()

    async def __aenter__(self) -> SlowReplies:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(self._pump(reader, back, slow=False), self._pump(there, writer, slow=True))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, slow: bool) -> None:
        while data := await source.read(65536):
            if slow and not self.hold.is_set():
                self.held.set()
                await self.hold.wait()
            try:
                sink.write(data)
            except ConnectionError:
                break
        sink.close()


async def test_cancelled_acquire_leaves_no_orphan(url: str, client: Redis) -> None:
    """A lease that the server granted after the caller was cancelled is released."""
    async with SlowReplies(url) as proxy:
        store = RedisStore(proxy.url)
        assert await store.read(KEY) is None

        async def take() -> None:
            async with store.lease(KEY, 30):
                raise AssertionError("the reply was held back")

        proxy.hold.clear()
        taking = asyncio.create_task(take())
        await proxy.held.wait()
        assert await client.exists(f"{{truecaller_vbc:{KEY}}}:lease")
        taking.cancel()
        await asyncio.sleep(0)
        proxy.hold.set()
        await asyncio.gather(taking, return_exceptions=True)

        assert taking.cancelled()
        assert not await client.exists(f"{{truecaller_vbc:{KEY}}}:lease")
        await store.close()


async def test_users_client_is_not_closed(client: Redis) -> None:
    """A client that the user passed stays open, and may return bytes or strings."""
    for text_client in (client, Redis.from_url(_url_of(client), decode_responses=True)):
        store = RedisStore(text_client, prefix=f"p{id(text_client)}")
        await store.write(KEY, DOCUMENT)
        assert await store.read(KEY) == DOCUMENT
        await store.close()
        assert await text_client.ping()
    await text_client.aclose()


def _url_of(client: Redis) -> str:
    options = client.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}/{options.get('db', 0)}"


async def test_replaced_master_is_left() -> None:
    """After ReadOnlyError the store opens a new connection, which may reach the new master."""
    with redis_server() as server:
        store = RedisStore(server.url)
        await store.write(KEY, DOCUMENT)
        before = await (await store._client()).client_id()
        async with Redis.from_url(server.url) as admin:
            await admin.replicaof("127.0.0.1", 1)
            with pytest.raises(StoreError, match="ReadOnly"):
                await store.write(KEY, json.dumps({"revision": 2}))
            await admin.replicaof("NO", "ONE")
        assert await store.write(KEY, json.dumps({"revision": 2}))
        assert await (await store._client()).client_id() != before
        await store.close()


async def test_password_in_the_url_is_used_and_never_shown() -> None:
    """A password in the URL is used, and appears in no error and no repr."""
    with redis_server("--requirepass", "open-sesame") as server:
        right = server.url.replace("//", "//:open-sesame@")
        store = RedisStore(right)
        await store.write(KEY, DOCUMENT)
        assert await store.read(KEY) == DOCUMENT
        assert "sesame" not in repr(store)
        await store.close()
        wrong = RedisStore(server.url.replace("//", "//:wrong-sesame@"))
        with pytest.raises(StoreError) as caught:
            await wrong.read(KEY)
        assert "sesame" not in str(caught.value)
        assert caught.value.__cause__ is None
        await wrong.close()


@pytest.mark.parametrize("url", ["redis://:the-secret@host:port/0", "rediss://:the-secret@[bad/0"])
def test_invalid_url(url: str) -> None:
    """An invalid URL raises an error at construction that does not show the URL."""
    with pytest.raises(ConfigurationError, match="redis://") as caught:
        VBCSession(Sandbox().credentials, store=url)
    assert "the-secret" not in str(caught.value)


@pytest.mark.slow
def test_without_redis_py(tmp_path: Path) -> None:
    """The package works without redis-py; a redis:// store says what to install."""
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "__init__.py").write_text("raise ImportError")
    code = (
        "from truecaller_vbc import VBCSession, Credentials, ConfigurationError\n"
        "VBCSession(Credentials('a', 'k', 's'))\n"
        "try: VBCSession(Credentials('a', 'k', 's'), store='redis://host/0')\n"
        "except ConfigurationError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(tmp_path)}
    )

    assert "pip install 'truecaller_vbc[redis]'" in done.stdout


async def test_document_that_is_not_json_is_replaced(client: Redis) -> None:
    """A stored document that is not JSON is replaced by the next write."""
    await client.set(f"{{truecaller_vbc:{KEY}}}:document", "not JSON")
    store = RedisStore(client)
    assert await store.write(KEY, DOCUMENT)
    assert await store.read(KEY) == DOCUMENT
