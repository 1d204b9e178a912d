"""The demo from its first call to its verdict."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import typer

from ...errors import ConfigurationError
from ...sandbox import Sandbox
from ...stores import RedisStore, TokenStore, open_store
from .company import company_of
from .curtain import play_out
from .options import RULES, DemoOptions
from .play import Play
from .redis_server import RedisServer
from .show import show
from .verdict import judge

_PATIENCE: Final = 30.0
_TO_START: Final = 2.0


async def run_demo(options: DemoOptions) -> int:
    """Play, show, judge; the verdict's exit code.

    Raises:
        ConfigurationError: a fleet without a store to share, or a store that cannot be had.
    """
    if options.processes > 1 and options.store == "memory":
        raise ConfigurationError("--processes needs a store that they can share: --store file or --store redis")
    with _store_url(options.store) as url:
        async with Sandbox(RULES) as sandbox, _opened(url) as store, company_of(options, sandbox, url) as company:
            play = Play(sandbox, company, store if options.processes > 1 else None, options.seconds)
            async with _shown(show(options, sandbox, company, play)):
                patience = _PATIENCE + _TO_START * options.processes
                cut_short = await play_out(play, company, options.seconds + patience)
        verdict = judge(company.tally, sandbox, cut_short)
    if options.as_json:
        facts = {"seconds": options.seconds, "callers": options.callers, "processes": options.processes}
        typer.echo(json.dumps({**verdict.facts(), **facts, "acts": play.acts}))
    else:
        typer.echo(str(verdict))
    return verdict.exit_code


@asynccontextmanager
async def _opened(url: str | None) -> AsyncGenerator[TokenStore]:
    store = open_store(url)
    try:
        yield store
    finally:
        if isinstance(store, RedisStore):
            await store.close()


@contextmanager
def _store_url(store: str) -> Generator[str | None]:
    """The URL of what is meant, there as long as the demo."""
    if store == "file":
        with tempfile.TemporaryDirectory() as directory:
            yield Path(directory, "token.json").as_uri()
    elif store == "redis":
        server = RedisServer()
        server.start()
        try:
            yield server.url
        finally:
            server.kill()
    else:
        yield None if store == "memory" else store


@asynccontextmanager
async def _shown(showing: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    task = asyncio.create_task(showing)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
