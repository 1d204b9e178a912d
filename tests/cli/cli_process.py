"""Run the command line in a process of its own, with a sandbox as the API."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import NamedTuple

from truecaller_vbc.sandbox import Sandbox

PATIENCE = 60.0


class Ended(NamedTuple):
    """Exit code and output of a process."""

    code: int
    out: str
    err: str


def environment(sandbox: Sandbox | None) -> dict[str, str]:
    """Return the variables that a process needs to use the sandbox, or none of them."""
    variables = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    if sandbox is not None:
        variables |= {
            "TRUECALLER_VBC_CLIENT_ACCOUNT_ID": sandbox.credentials.client_account_id,
            "TRUECALLER_VBC_KEY_ID": sandbox.credentials.key_id,
            "TRUECALLER_VBC_API_KEY": str(sandbox.credentials.api_key),
            "TRUECALLER_VBC_BASE_URL": sandbox.base_url,
        }
    return variables


async def start(
    sandbox: Sandbox | None, *arguments: str | Path, cwd: Path | None = None, out: int | None = None
) -> Process:
    """Start a command; `out` replaces both of its output streams."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "truecaller_vbc", *map(str, arguments)),
        env=environment(sandbox),
        cwd=cwd,
        stdin=PIPE,
        stdout=PIPE if out is None else out,
        stderr=PIPE if out is None else out,
    )


async def end(process: Process, stdin: bytes = b"") -> Ended:
    """Wait for the end of a process, and kill it after `PATIENCE`."""
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    out, err = out or b"", err or b""  # None where the caller gave the streams
    assert b"Traceback" not in err, err.decode()
    return Ended(process.returncode, out.decode(), err.decode())


async def run(sandbox: Sandbox | None, *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None) -> Ended:
    """Run a command to its end."""
    return await end(await start(sandbox, *arguments, cwd=cwd), stdin)
