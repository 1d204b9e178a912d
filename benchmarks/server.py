"""The sandbox in a process of its own, so that its CPU time is nobody's on our side."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from truecaller_vbc import Credentials
from truecaller_vbc.sandbox import Sandbox, SandboxRules


@attrs.frozen
class Server:
    """Where it is, and what it accepts."""

    base_url: str
    credentials: Credentials


@contextmanager
def server(**rules: float) -> Iterator[Server]:
    """A sandbox with these rules, as long as the block lasts."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, __file__, json.dumps(rules)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None  # noqa: S101
    assert process.stdin is not None  # noqa: S101
    base_url, *credentials = json.loads(process.stdout.readline())
    try:
        yield Server(base_url, Credentials(*credentials))
    finally:
        process.stdin.close()
        process.wait()


async def main(rules: dict[str, float]) -> None:
    """Serve until the parent goes away."""
    async with Sandbox(SandboxRules(**rules)) as sandbox:  # type: ignore[arg-type]
        credentials = sandbox.credentials
        facts = (sandbox.base_url, credentials.client_account_id, credentials.key_id, str(credentials.api_key))
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
