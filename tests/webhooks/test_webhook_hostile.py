"""Senders that flood, stall and lie: bounded memory, right answers."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterable, Iterator

import aiohttp
import pytest

from truecaller_vbc.sandbox import WebhookRules, send_webhooks, webhook_event
from truecaller_vbc.webhooks import CallMeBack, Event, Receiver

from .servers import KEY, post, served

pytestmark = pytest.mark.slow
MEBIBYTE = 1024 * 1024
HEAD = "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


async def _ignore(event: Event) -> None:
    """Handle an event."""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    receiver = Receiver(key=KEY, deadline=0.4)
    receiver.on(CallMeBack)(_ignore)
    async with served(receiver) as it:
        yield it


async def _raw(url: str, head: str, pieces: Iterable[bytes] = (), *, pause: float = 0.0, deaf: bool = False) -> bytes:
    """Send raw bytes until the answer comes (unless `deaf`) or the connection ends, and return the answer."""
    parts = url.removeprefix("http://").partition("/")
    host, port = parts[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write((HEAD.format(path=f"/{parts[2]}") + head + "\r\n").encode())
        for piece in pieces:
            if not deaf and (reader.at_eof() or reader._buffer):  # type: ignore[attr-defined]
                break
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        return await reader.read(4096)
    except ConnectionError:
        return b"connection lost"
    finally:
        writer.close()


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def test_large_body_is_not_read(url: str) -> None:
    """A body of 100 MB gets 413 before any of it was sent; who sends it all the same is cut off early."""
    length, piece, sent = "Content-Length: 104857600\r\n", b"x" * 65_536, 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1600):
            sent += len(piece)
            yield piece

    assert (await _raw(url, length)).startswith(b"HTTP/1.1 413")
    await _raw(url, length, pieces(), deaf=True)
    assert sent < 8 * MEBIBYTE
    assert (await post(url))[0] == 200


async def test_endless_chunks(url: str) -> None:
    """Chunks without an end are stopped at the limit."""
    chunk = b"2000\r\n" + b"[" * 0x2000 + b"\r\n"
    before = _peak()
    answer = await _raw(url, "Transfer-Encoding: chunked\r\n", [chunk] * 10_000, pause=0.0005)

    assert answer.startswith(b"HTTP/1.1 413") or answer == b"connection lost"
    assert _peak() - before < 32 * MEBIBYTE
    assert (await post(url))[0] == 200


async def test_slow_bodies(url: str) -> None:
    """A body that comes too slowly gets 408; a hundred of them at once delay the others by nothing."""
    body = json.dumps(webhook_event()).encode()
    slow = [
        asyncio.create_task(_raw(url, f"Content-Length: {len(body)}\r\n", [body[:1]] * 100, pause=0.02))
        for _ in range(100)
    ]
    await asyncio.sleep(0.1)
    assert (await post(url))[0] == 200
    answers = await asyncio.gather(*slow)

    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 408")]
    assert refused
    assert set(answers) - set(refused) <= {b"connection lost"}  # it was closed while the client went on writing


async def test_invalid_chunks(url: str) -> None:
    """Chunks that are not valid get 400, and a body that ends too early gets nothing wrong."""
    answer = await _raw(url, "Transfer-Encoding: chunked\r\n", [b"zz\r\n{}\r\n"])

    assert b" 400 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"event_id": "a", "x": ' + b"[" * 60_000,
        b'{"event_id": "' + b"x" * 60_000 + b'"}',
        b'{"event_id": ' + b"9" * 60_000 + b"}",
        b'{"event_id": "a", ' + b", ".join(b'"x%d": 1' % number for number in range(5000)) + b', "x1": 2}',
        b'{"event_id": "a", "created_at": "' + b"9" * 60_000 + b'"}',
        b"\x00" * 60_000,
    ],
    ids=["deep", "deep inside", "long ID", "long number", "many names", "far future", "zeros"],
)
async def test_hostile_json(url: str, body: bytes) -> None:
    """JSON that is deep, long or ambiguous gets 400, and the next event is handled."""
    assert (await post(url, body))[0] == 400
    assert (await post(url))[0] == 200


async def test_long_id(url: str) -> None:
    """An ID of 1 MB is beyond the size of a body."""
    assert (await post(url, {"event_id": "x" * 1_000_000}))[0] == 413


async def test_wrong_keys(url: str) -> None:
    """Thousands of wrong keys are refused, none is right, and memory does not grow with them."""
    bare = url.partition("?")[0]
    body = json.dumps(webhook_event())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as http:

        async def guess(number: int) -> int:
            async with http.post(bare, params={"key": f"{number}"}, data=body) as answer:
                return answer.status

        await asyncio.gather(*(guess(number) for number in range(200)))
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            statuses = await asyncio.gather(*(guess(number) for number in range(2000)))
            await asyncio.sleep(0)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()

    assert set(statuses) == {403}
    assert grown < 4 * MEBIBYTE


async def test_senders_of_the_sandbox(url: str) -> None:
    """Slow senders and those that break off are delivered in the end."""
    rules = WebhookRules(retries=(0.01,) * 3, disconnect=2, slow=0.05, concurrency=8, duplicates=1, reorder=True)
    deliveries = await send_webhooks(url, [webhook_event() for _ in range(20)], rules)

    assert {delivery.state for delivery in deliveries} == {"delivered"}
    assert {delivery.statuses[:2] for delivery in deliveries} == {(None, None)}
