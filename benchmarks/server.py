"""The sandbox in a process of its own, so that its CPU time is nobody's on our side."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from truecaller_vbc import Credentials
from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules


def call_record() -> dict[str, str | int]:
    """A record that the sandbox takes, for calls within the next hour."""
    now = int(time.time() * 1000)
    return {
        "label_id": "c6d86658-008d-4c08-98fb-2bf2649d59a5",
        "dynamic_call_reason": "Flower Delivery",
        "caller_number": "911234567890",
        "receiver_number": "919876543210",
        "starts_at": now,
        "ends_at": now + 3_600_000,
    }


@attrs.frozen
class Server:
    """Where it is, and what it accepts."""

    base_url: str
    credentials: Credentials


@contextmanager
def server(**rules: float) -> Iterator[Server]:
    """A sandbox with these rules and without rate limits, as long as the block lasts."""
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
    api = ApiRules(realtime_per_second=None, batch_per_minute=None)
    async with Sandbox(SandboxRules(api=api, **rules)) as sandbox:  # type: ignore[arg-type]
        credentials = sandbox.credentials
        facts = (sandbox.base_url, credentials.client_account_id, credentials.key_id, str(credentials.api_key))
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
