"""The port and the open connections."""

from __future__ import annotations

import asyncio

from aiohttp import web
from yarl import URL

# aiohttp waits this long for handlers, which were all cancelled before; 0 would mean for ever.
_SHUTDOWN_SECONDS = 0.1
_MOST_BODY_BYTES = 16 * 1024 * 1024


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
        self._site: web.TCPSite | None = None

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
        if self._site is None:
            site = web.TCPSite(self._runner, self._host, self._port)
            await site.start()
            self._site, self._port = site, site.port

    async def pause(self) -> None:
        """Refuse new connections and abort the open ones."""
        if self._site is not None:
            site, self._site = self._site, None
            await site.stop()
        await self.abort_all()

    async def abort_all(self) -> None:
        """Abort every open connection, also one that was accepted this very moment."""
        await asyncio.sleep(0)
        _abort_connections(self._runner.server)
        # One round for the loss of the connection, one for the tasks that it wakes.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Give up the port for good."""
        server = self._runner.server
        await self._runner.cleanup()
        # One that was accepted as the last thing is made some rounds later, when nobody else looks any more.
        for _ in range(3):
            await asyncio.sleep(0)
            _abort_connections(server)
        await asyncio.sleep(0)


def _abort_connections(server: web.Server | None) -> None:
    for connection in server.connections if server is not None else ():
        if connection.transport is not None:
            connection.transport.abort()
