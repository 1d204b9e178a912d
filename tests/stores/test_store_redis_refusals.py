"""Redis servers that can never serve as a store, those that soon will, and a lease that has lost its time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from truecaller_vbc import RedisStore, StoreError, StoreRefusedError
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.session import VBCSession

from ..redis_server import RedisServer, redis_server

KEY = "k" * 32


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as it:
        yield it


async def _start(store: str) -> tuple[str, int]:
    """Return the error of a session that starts with this store, or "", and its token requests."""
    async with Sandbox() as sandbox, VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=store) as vbc:
        try:
            await vbc.token()
        except StoreRefusedError as error:
            return str(error), sandbox.token_requests
        return "", sandbox.token_requests


async def test_database_that_does_not_exist(server: RedisServer) -> None:
    """A number beyond the server's databases is a wrong URL."""
    message, requests = await _start(f"redis://127.0.0.1:{server.port}/99")

    assert "no database of this number" in message
    assert requests == 0


@pytest.mark.parametrize("command", ["set", "get", "eval", "time"])
async def test_login_without_a_permission(server: RedisServer, command: str) -> None:
    """A user that lacks one command, also inside a script, is told what to allow."""
    async with Redis.from_url(server.url) as admin:
        commands = ["+@all", f"-{command}"]
        await admin.acl_setuser("app", enabled=True, passwords="+pw", keys=["*"], commands=commands, reset=True)
    message, requests = await _start(f"redis://app:pw@127.0.0.1:{server.port}/0")

    assert "allow its user GET, SET, EVAL" in message
    assert requests == 0


async def test_replica() -> None:
    """A replica can be read, but never written."""
    with redis_server("--replicaof", "127.0.0.1 1") as replica:
        message, requests = await _start(replica.url)

    assert "URL of the primary" in message
    assert requests == 0


@asynccontextmanager
async def _server_that_says(answer: bytes) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (b"-MOVED 3999 127.0.0.1:6381\r\n", "RedisCluster"),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", "cannot save to its disk"),
        (b"-ERR Error running script: @user_script:2: WRONGTYPE Operation\r\n", "another prefix"),
        (b"-ERR unknown command 'EVAL'\r\n", "allows scripts"),
        (b"-DENIED Redis is running in protected mode\r\n", "store's URL"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "leads to a Redis"),
    ],
)
async def test_answer_that_no_waiting_changes(answer: bytes, remedy: str) -> None:
    """A cluster, a full disk, a foreign key, a server without scripts, another protocol: the error names the remedy."""
    async with _server_that_says(answer) as url:
        message, requests = await _start(url)

    assert remedy in message
    assert requests == 0


@pytest.mark.parametrize(
    "answer",
    ["LOADING dataset", "TRYAGAIN later", "CLUSTERDOWN", "MASTERDOWN Link", "BUSY script", "NOREPLICAS not enough"],
)
async def test_answer_of_a_server_that_soon_works_is_an_outage(answer: str) -> None:
    """A server that loads, fails over or is busy is waited for, not refused."""
    async with _server_that_says(f"-{answer}\r\n".encode()) as url:
        store = RedisStore(url)
        with pytest.raises(StoreError) as caught:
            await store.read(KEY)
        await store.close()

    assert not isinstance(caught.value, StoreRefusedError)


async def test_lease_that_lost_its_time_limit_ends(server: RedisServer) -> None:
    """A lease key without an expiry, as in a restored copy, ends after the seconds of the first one that asks."""
    store = RedisStore(server.url)
    async with Redis.from_url(server.url) as admin, store.lease(KEY, 60) as first:
        assert first
        (name,) = await admin.keys("*lease")
        async with store.lease(KEY, 30) as second:
            assert not second
        assert await admin.pttl(name) > 30_000  # as it was
        await admin.persist(name)
        async with store.lease(KEY, 30) as third:
            assert not third
        assert 0 < await admin.pttl(name) <= 30_000
    await store.close()
