"""Run sandboxes in a separate process, so that their CPU time is not counted as the client's.

`SandboxProcess` starts this file as a script and sends it commands: one JSON line per command, one per answer.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import attrs

from truecaller_vbc import Credentials
from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules

NO_RATE_LIMITS = ApiRules(realtime_per_second=None, batch_per_minute=None)


def call_record() -> dict[str, str | int]:
    """Return a record that the sandbox accepts, for calls within the next hour."""
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
class RemoteSandbox:
    """One sandbox of a `SandboxProcess`."""

    process: SandboxProcess
    number: int
    base_url: str
    credentials: Credentials

    def send(self, command: str, **details: Any) -> Any:
        """Send outage, end_outage, fail_next, pause, resume, revoke, stats or close, and return the answer."""
        return self.process.send(command=command, number=self.number, **details)

    @property
    def mints(self) -> int:
        """Number of tokens that the sandbox has granted."""
        return int(self.send("stats")["mints"])


class SandboxProcess:
    """A process with any number of sandboxes, as a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def send(self, **message: Any) -> Any:
        """Send one command and return its answer."""
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def open(self, **rules: Any) -> RemoteSandbox:
        """Start a sandbox with these rules and without rate limits."""
        number, base_url, *credentials = self.send(command="open", rules=rules)
        return RemoteSandbox(self, number, base_url, Credentials(*credentials))


@contextmanager
def sandbox_process(**rules: Any) -> Iterator[RemoteSandbox]:
    """Run one sandbox in a process of its own until the block ends."""
    with SandboxProcess() as process:
        yield process.open(**rules)


def _stats(sandbox: Sandbox) -> dict[str, Any]:
    log = sandbox.log
    calls = [record for record in log if not record.path.endswith("/token")]
    return {
        "mints": sandbox.mints,
        "token_requests": sandbox.token_requests,
        "token_requests_at": [record.at for record in log if record.path.endswith("/token")],
        "statuses": Counter(str(record.status) for record in calls),
        "with_header": sum(record.has_authorization for record in calls),
    }


async def _execute(sandboxes: list[Sandbox], message: dict[str, Any]) -> Any:
    if message["command"] == "open":
        sandbox = await Sandbox(SandboxRules(api=NO_RATE_LIMITS, **message["rules"])).__aenter__()
        sandboxes.append(sandbox)
        key = sandbox.credentials
        return len(sandboxes) - 1, sandbox.base_url, key.client_account_id, key.key_id, str(key.api_key)
    sandbox, fault = sandboxes[message["number"]], message.get("fault", {})
    match message["command"]:
        case "stats":
            return _stats(sandbox)
        case "outage":
            sandbox.set_outage(message["endpoint"], **fault)
        case "end_outage":
            sandbox.end_outage(message["endpoint"])
            await sandbox.drop_connections()
        case "fail_next":
            sandbox.fail_next(message["endpoint"], **fault)
        case "pause":
            await sandbox.pause_listening()
        case "resume":
            await sandbox.resume_listening()
        case "revoke":
            sandbox.revoke_all()
        case "close":
            await sandbox.__aexit__(None, None, None)
    return None


async def _serve() -> None:
    """Execute commands until the parent closes standard input."""
    sandboxes: list[Sandbox] = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        answer = await _execute(sandboxes, json.loads(line))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve())
