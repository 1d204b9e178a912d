"""Run the sandbox in a terminal of its own (``truecaller-vbc sandbox``)."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import typer

from ..errors import ConfigurationError
from ..sandbox import Sandbox, SandboxRules


async def serve_sandbox(rules: SandboxRules, port: int) -> int:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: the port is taken.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        async with Sandbox(rules, port=port) as sandbox:
            _print_exports(sandbox)
            await stopped.wait()
    except OSError as error:
        raise ConfigurationError(f"--port {port} cannot be used ({error.strerror}): take another, or 0") from None
    return 0


def _print_exports(sandbox: Sandbox) -> None:
    credentials = sandbox.credentials
    typer.echo("# A sandbox with credentials that it made up. In another terminal:")
    typer.echo(f"export TRUECALLER_VBC_BASE_URL={sandbox.base_url}")
    typer.echo(f"export TRUECALLER_VBC_CLIENT_ACCOUNT_ID={credentials.client_account_id}")
    typer.echo(f"export TRUECALLER_VBC_KEY_ID={credentials.key_id}")
    typer.echo(f"export TRUECALLER_VBC_API_KEY={credentials.api_key!s}")
