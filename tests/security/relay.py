"""A proxy and a TLS terminator on loopback that forward bytes and record them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

Talk: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Relay:
    """Forward connections, and record what passes through.

    Attributes:
        heads: of the requests to the proxy itself.
        seen: every byte that a client sent, as the relay reads it.
        refuse: answer every request with 407.
    """

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.seen = bytearray()
        self.refuse = False
        self.port = 0
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Return the URL of the relay."""
        return f"http://127.0.0.1:{self.port}"

    async def proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve CONNECT, and requests with an absolute URL."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode("latin-1"))
        self.seen += head
        method, target, _ = head.split(b"\r\n")[0].decode("latin-1").split(" ")
        if self.refuse:
            writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        where = urlsplit(f"//{target}" if method == "CONNECT" else target)
        far_reader, far_writer = await asyncio.open_connection(where.hostname, where.port)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Go on\r\n\r\n")
        else:
            far_writer.write(head.replace(target.encode("latin-1"), where.path.encode("latin-1"), 1))
        await self._between(reader, writer, far_reader, far_writer)

    async def _between(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        async def there() -> None:
            while chunk := await reader.read(65536):
                self.seen += chunk
                far_writer.write(chunk)

        async def back() -> None:
            while chunk := await far_reader.read(65536):
                writer.write(chunk)

        ways = [asyncio.create_task(there()), asyncio.create_task(back())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            far_writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def terminator(self, port: int) -> Talk:
        """Return a handler that ends TLS and forwards the bytes to another port of this machine."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._between(reader, writer, *await asyncio.open_connection("127.0.0.1", port))

        return talk

    @asynccontextmanager
    async def open(self, talk: Talk, context: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
        """Listen, and close every connection at the end."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._talks.add(task)
            try:
                await talk(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass  # one side has closed
            except asyncio.CancelledError:
                pass  # the test has ended; asyncio's stream callback would log the cancellation
            finally:
                self._talks.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._talks:
                task.cancel()
            await asyncio.gather(*self._talks, return_exceptions=True)
            await server.wait_closed()
