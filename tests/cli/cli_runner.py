"""Run the command line in this process, with a sandbox in another thread, which saves a second for each command."""

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
def sandbox_in_a_thread(rules: SandboxRules | None = None) -> Iterator[Sandbox]:
    """Run a sandbox in another thread, since this one waits for commands."""
    opened: list[tuple[Sandbox, asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Event()

    async def serve() -> None:
        finished = asyncio.Event()
        try:
            async with Sandbox(rules) as sandbox:
                opened.append((sandbox, asyncio.get_running_loop(), finished))
                ready.set()
                await finished.wait()
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    sandbox, loop, finished = opened[0]
    try:
        yield sandbox
    finally:
        loop.call_soon_threadsafe(finished.set)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def invoke(sandbox: Sandbox | None, *arguments: str | Path, stdin: bytes = b"") -> Ended:
    """Run a command to its end."""
    unset: dict[str, Any] = dict.fromkeys(
        f"TRUECALLER_VBC_{name}" for name in ("CLIENT_ACCOUNT_ID", "KEY_ID", "API_KEY", "BASE_URL", "STORE")
    )
    result = CliRunner(env=unset | environment(sandbox)).invoke(app, [*map(str, arguments)], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)
