"""Start, stop and pause the server, drop its connections, and read its log."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import gc
import logging
import socket
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

import truecaller_vbc.sandbox
from truecaller_vbc.credentials import Credentials
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.sandbox.records import RequestLog
from truecaller_vbc.sandbox.tokens import fingerprint

from .sandbox_wire import ManualClock, until, wire


async def settled() -> None:
    """Give the client time to notice a broken connection."""
    await asyncio.sleep(0.02)


async def test_sandboxes_share_nothing() -> None:
    """Two sandboxes have different ports and credentials, and share no state."""
    async with Sandbox() as one, Sandbox() as two:
        assert one.base_url != two.base_url
        assert one.credentials != two.credentials
        assert (one.mints, one.token_requests, one.log) == (0, 0, [])


async def test_given_credentials_are_used() -> None:
    """A sandbox uses the credentials that it is given."""
    mine = Credentials("account", "key", "hush")
    async with Sandbox(credentials=mine) as sandbox, aiohttp.ClientSession() as http:
        url = f"{sandbox.base_url}/clients/account/token"
        body = {"key_id": "key", "api_key": "hush"}
        async with http.post(url, json=body, headers={"X-Public-Access": "allow"}) as response:
            assert (sandbox.credentials, response.status) == (mine, 200)


@pytest.mark.slow
async def test_exit_leaves_nothing_behind() -> None:
    """After the exit no task is pending and the port is closed, even if requests hang."""
    sandbox = Sandbox()
    async with aiohttp.ClientSession() as http:
        async with sandbox:
            async with http.get(sandbox.base_url) as response:
                assert response.status == 404
            sandbox.set_outage("api", delay=float("inf"))
            with pytest.raises(TimeoutError):
                await http.get(sandbox.base_url, timeout=aiohttp.ClientTimeout(total=0.02))
            asked = asyncio.create_task(http.post(sandbox.base_url))
            await settled()
            start = asyncio.get_running_loop().time()
        took = asyncio.get_running_loop().time() - start
        left = asyncio.all_tasks() - {asyncio.current_task(), asked}

        assert (left, took < 0.5) == (set(), True)
        with pytest.raises(aiohttp.ClientConnectionError):
            await asked
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(sandbox.base_url)
    gc.collect()


async def test_sandbox_is_used_once() -> None:
    """Entering a sandbox twice raises an error that says what to do."""
    sandbox = Sandbox()
    async with sandbox:
        with pytest.raises(RuntimeError, match="open already; make a new one"):
            await sandbox.__aenter__()
    with pytest.raises(RuntimeError, match="closed already; make a new one"):
        await sandbox.__aenter__()


async def test_use_before_opening() -> None:
    """The address and the connections of a sandbox can be used only while it is open."""
    sandbox = Sandbox()
    with pytest.raises(RuntimeError, match="has an address once it is entered"):
        _ = sandbox.base_url
    for call in (sandbox.drop_connections, sandbox.pause_listening, sandbox.resume_listening):
        with pytest.raises(RuntimeError, match="is new, not open"):
            await call()


async def test_taken_port() -> None:
    """A port in use raises OSError and leaves nothing open; once it is free, entering works."""
    async with Sandbox() as first:
        second = Sandbox(port=urlsplit(first.base_url).port or 0)
        with pytest.raises(OSError, match="address already in use"):
            await second.__aenter__()
    gc.collect()

    async with second, aiohttp.ClientSession() as http, http.get(second.base_url) as response:
        assert (second.base_url, response.status) == (first.base_url, 404)


async def test_dropped_connections_are_closed() -> None:
    """Dropping connections breaks running requests; the next one uses a new connection."""
    async with wire() as w:
        w.sandbox.fail_next("token", delay=0.05)
        asked = asyncio.create_task(w.mint())
        await until(lambda: w.sandbox.token_requests)
        await w.sandbox.drop_connections()
        with pytest.raises(aiohttp.ClientConnectionError):
            await asked

        assert (await w.mint()).status == 200


@pytest.mark.slow
async def test_dropping_discards_sent_data() -> None:
    """Dropping connections discards data that the client has not received."""
    async with wire() as w:
        size = 32 * 1024 * 1024
        w.sandbox.fail_next("token", status=200, body=b"x" * size)
        address = urlsplit(w.sandbox.base_url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
        writer.write(b"POST %s/token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % w.account.encode())
        await reader.readuntil(b"\r\n\r\n")
        await w.sandbox.drop_connections()
        received = 0
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                while piece := await reader.read(1024 * 1024):
                    received += len(piece)
        writer.close()

        assert received < size


async def test_paused_port_refuses_and_comes_back() -> None:
    """A paused port refuses connections and closes old ones; after resuming the same port answers."""
    async with wire() as w:
        token = await w.token()
        url = w.sandbox.base_url
        for _ in range(2):
            await w.sandbox.pause_listening()
        await settled()
        with pytest.raises(aiohttp.ClientConnectorError):
            await w.mint()
        assert w.sandbox.token_requests == 1

        for _ in range(2):
            await w.sandbox.resume_listening()
        assert await w.is_live(token)
        assert w.sandbox.base_url == url


async def test_exit_while_paused() -> None:
    """A paused sandbox can be closed."""
    async with Sandbox() as sandbox:
        await sandbox.pause_listening()
    assert "closed" in repr(sandbox)


@pytest.mark.slow
@pytest.mark.parametrize("rounds", range(6))
@pytest.mark.parametrize("leave", [Sandbox.pause_listening, lambda sandbox: sandbox.__aexit__(None, None, None)])
async def test_connection_accepted_while_the_port_closes(
    rounds: int, leave: Callable[[Sandbox], Awaitable[None]]
) -> None:
    """A connection that is accepted while the port closes is closed without a warning."""
    loop = asyncio.get_running_loop()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with Sandbox() as sandbox:
            with socket.socket() as late:
                late.setblocking(False)
                late.connect_ex(("127.0.0.1", urlsplit(sandbox.base_url).port))
                for _ in range(rounds):
                    await asyncio.sleep(0)
                await leave(sandbox)
                with contextlib.suppress(ConnectionError):
                    assert await asyncio.wait_for(loop.sock_recv(late, 1), 5) == b""
        gc.collect()
    assert [str(one.message) for one in warned] == []


async def test_log_of_requests() -> None:
    """The log has time, method, path, status and the token's fingerprint of each request."""
    clock = ManualClock()
    async with wire(clock=clock) as w:
        token = await w.token()
        clock.now += 7.0
        await w.api(token, "PATCH", "/echo?secret=hush")
        await w.send("GET", f"{w.account}/labels", headers={"Authorization": "Basic hush"})
        first, second, third = w.sandbox.log
        assert w.sandbox.token_requests == 1

    assert (first.at, first.method, first.path, first.status) == (5000.0, "POST", f"{w.account}/token", 200)
    assert (first.fingerprint, first.has_authorization) == (None, False)
    assert (second.at, second.method, second.path) == (5007.0, "PATCH", f"{w.account}/echo")
    assert (second.fingerprint, second.has_authorization) == (fingerprint(token), True)
    assert (third.status, third.fingerprint, third.has_authorization) == (401, None, True)


def test_log_is_bounded() -> None:
    """The log has a maximum length."""
    assert RequestLog()._records.maxlen == 100_000


async def test_nothing_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Reprs, records, log lines and answers show no API key, token or query, except for the token's own answer."""
    caplog.set_level(logging.DEBUG)
    async with wire() as w:
        token = await w.token()
        refused = await w.mint(json=w.keys | {"key_id": "other"})
        echoed = await w.api(token, "POST", "/echo?key=hush", data=b"body")
        shown = f"{w.sandbox!r} {w.sandbox.credentials!r} {w.sandbox.log!r} {caplog.text}"

    for secret in (token, w.keys["api_key"]):
        assert secret not in shown + refused.raw.decode() + echoed.raw.decode()
    assert "hush" not in shown


async def test_cut_upload_is_no_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """An upload that the client cuts off gets a record without status, and logs no error."""
    async with wire() as w:
        address = urlsplit(w.sandbox.base_url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"POST %s/token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{" % w.account.encode())
        await until(lambda: w.sandbox.token_requests)
        writer.close()
        await writer.wait_closed()
        await until(lambda: w.sandbox.log)

        assert [record.status for record in w.sandbox.log] == [None]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_sandbox_knows_nothing_of_the_client() -> None:
    """The sandbox imports only the credentials from the library, so that both cannot share a mistake."""
    folder = Path(truecaller_vbc.sandbox.__file__).parent
    nodes = [node for file in folder.glob("*.py") for node in ast.walk(ast.parse(file.read_text()))]
    plain = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    froms = {(node.level, node.module or "") for node in nodes if isinstance(node, ast.ImportFrom)}

    assert {module for _, module in froms if "truecaller_vbc" in module} == {"truecaller_vbc.credentials"}
    assert max(level for level, _ in froms) == 1
    assert not any("truecaller_vbc" in name for name in plain)
