"""A real Redis or Valkey server for the tests: the one at a URL, one on PATH, or the one that the wheel brings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from truecaller_vbc.cli.demo.redis_server import RedisServer


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """A server of the test's own."""
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
