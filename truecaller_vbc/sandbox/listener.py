"""Open and close the port, and abort connections."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web
from yarl import URL

# aiohttp waits this long for handlers, all of which are cancelled before; 0 would mean forever.
_SHUTDOWN_SECONDS = 0.1
_MOST_BODY_BYTES = 16 * 1024 * 1024
_BACKLOG = 128


def new_application() -> web.Application:
    """Create an application that accepts bodies of any size that tests need."""
    return web.Application(client_max_size=_MOST_BODY_BYTES)


class Listener:
    """Serve one application on one port, which can be closed and opened again.

    Attributes:
        url: ``http://host:port``.
    """

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        # No access log: its lines contain whatever a client put into the URL.
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS)
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Return ``http://host:port`` with the real port."""
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
        """Accept connections again, on the same port; do nothing if it is open."""
        if self._server is None:
            make_connection = self._runner.server
            assert make_connection is not None  # noqa: S101 - set by start()
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(make_connection, self._host, self._port, backlog=_BACKLOG)
            self._port = self._server.sockets[0].getsockname()[1]

    async def pause(self) -> None:
        """Refuse new connections and abort the open ones."""
        await self._leave()
        await self.abort_all()

    async def _leave(self) -> None:
        """Close the port, including sockets that were accepted in this iteration of the loop.

        asyncio creates a transport for an accepted socket one iteration after accepting it. If its server is closed by
        then, it drops the socket without closing it.
        """
        server, self._server = self._server, None
        if server is None:
            return
        with contextlib.suppress(NotImplementedError):  # a loop without readers does not have this gap
            for socket in server.sockets:
                asyncio.get_running_loop().remove_reader(socket)
        await asyncio.sleep(0)
        server.close()

    async def abort_all(self) -> None:
        """Abort every open connection, including one accepted in this iteration of the loop."""
        await asyncio.sleep(0)
        for connection in self._runner.server.connections if self._runner.server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()
        # One iteration for the loss of the connection, one for the tasks that it wakes.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Close the port for good, and end the remaining requests."""
        await self._leave()
        await self._runner.cleanup()
