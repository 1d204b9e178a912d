"""The port and the open connections."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web
from yarl import URL

# aiohttp waits this long for handlers, which were all cancelled before; 0 would mean for ever.
_SHUTDOWN_SECONDS = 0.1
_MOST_BODY_BYTES = 16 * 1024 * 1024
_BACKLOG = 128


def new_application() -> web.Application:
    """An application that takes bodies as large as tests may want."""
    return web.Application(client_max_size=_MOST_BODY_BYTES)


class Listener:
    """Serves one application on one port, which it can leave and take again.

    Attributes:
        url: ``http://host:port``.
    """

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        # No access log: its lines hold whatever a client put into the URL.
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS)
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """``http://host:port`` with the real port."""
        return str(URL.build(scheme="http", host=self._host, port=self._port))

    async def start(self) -> None:
        """Open the port.

        Raises:
            OSError: the port is taken.
        """
        await self._runner.setup()
        try:
            await self.resume()
        except BaseException:
            await self._runner.cleanup()
            raise

    async def resume(self) -> None:
        """Accept connections again, on the same port; nothing happens if that is so already."""
        if self._server is None:
            make_connection = self._runner.server
            assert make_connection is not None  # noqa: S101 - it is set up
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(make_connection, self._host, self._port, backlog=_BACKLOG)
            self._port = self._server.sockets[0].getsockname()[1]

    async def pause(self) -> None:
        """Refuse new connections and abort the open ones."""
        await self._leave()
        await self.abort_all()

    async def _leave(self) -> None:
        """Close the port, behind those who stand in the door.

        asyncio makes a transport for an accepted socket one round after it was accepted. If its server is closed by
        then, it drops the socket without closing it.
        """
        server, self._server = self._server, None
        if server is None:
            return
        with contextlib.suppress(NotImplementedError):  # a loop without readers, whose sockets know no such moment
            for socket in server.sockets:
                asyncio.get_running_loop().remove_reader(socket)
        await asyncio.sleep(0)
        server.close()

    async def abort_all(self) -> None:
        """Abort every open connection, also one that was accepted this very moment."""
        await asyncio.sleep(0)
        for connection in self._runner.server.connections if self._runner.server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()
        # One round for the loss of the connection, one for the tasks that it wakes.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Give up the port for good, and end the requests that are left."""
        await self._leave()
        await self._runner.cleanup()
