"""The command line in this process, beside a sandbox in a thread of its own: a second less for each command."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from truecaller_vbc.cli.app import app
from truecaller_vbc.sandbox import Sandbox, SandboxRules

from .cli_process import Ended, environment

PATIENCE = 30.0


@contextmanager
def sandbox_beside(rules: SandboxRules | None = None) -> Iterator[Sandbox]:
    """A sandbox that serves while this thread waits for a command."""
    begun: list[tuple[Sandbox, asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Event()

    async def serve() -> None:
        over = asyncio.Event()
        try:
            async with Sandbox(rules) as sandbox:
                begun.append((sandbox, asyncio.get_running_loop(), over))
                ready.set()
                await over.wait()
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    sandbox, loop, over = begun[0]
    try:
        yield sandbox
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def invoke(sandbox: Sandbox | None, *arguments: str | Path, stdin: bytes = b"") -> Ended:
    """Run a command to its end."""
    nothing: dict[str, Any] = dict.fromkeys(
        f"TRUECALLER_VBC_{name}" for name in ("CLIENT_ACCOUNT_ID", "KEY_ID", "API_KEY", "BASE_URL", "STORE")
    )
    result = CliRunner(env=nothing | environment(sandbox)).invoke(app, [*map(str, arguments)], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)
