"""Run `calls status`."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from truecaller_vbc import CallRecord, VBCSession
from truecaller_vbc.sandbox import Sandbox, SandboxRules
from truecaller_vbc.sandbox.rules import ApiRules

from .cli_runner import invoke, sandbox_in_a_thread
from .record_files import number

HOUR = 3_600_000


async def _push(sandbox: Sandbox, receivers: list[str]) -> str:
    starts_at = int(time.time() * 1000)
    records = [
        CallRecord(
            caller_number="+911234567890",
            receiver_number=receiver,
            starts_at=starts_at,
            ends_at=starts_at + HOUR,
            label_id="c6d86658-008d-4c08-98fb-2bf2649d59a5",
        )
        for receiver in receivers
    ]
    async with VBCSession(sandbox.credentials, base_url=sandbox.base_url) as vbc:
        return (await vbc.calls.push_batch(records)).batch_id


def _pushed(sandbox: Sandbox, receivers: list[str]) -> str:
    return asyncio.run(_push(sandbox, receivers))


def test_every_record_succeeded() -> None:
    """A batch without errors prints a table without escape codes, with exit code 0."""
    with sandbox_in_a_thread() as sandbox:
        batch = _pushed(sandbox, [number(1), number(2)])
        result = invoke(sandbox, "calls", "status", batch)

    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == ["receiver", "status", "message", "record"]
    assert lines[1].split()[:3] == [number(1), "success", "-"]
    assert lines[-1] == f"batch {batch}: 2 success"
    assert "\x1b" not in result.out


def test_some_failed() -> None:
    """A batch with errors has exit code 1; --json prints one document."""
    with sandbox_in_a_thread() as sandbox:
        sandbox.set_outcome(number(2), "Failed to push")
        batch = _pushed(sandbox, [number(1), number(2)])
        result = invoke(sandbox, "calls", "status", batch, "--wait", "20", "--json")

    facts = json.loads(result.out)
    assert result.code == 1
    assert (facts["batch_id"], facts["final"], facts["counts"]) == (batch, True, {"success": 1, "error": 1})
    assert facts["records"][1]["receiver_number"] == number(2)
    assert facts["records"][1]["status_info"]["message"] == "Failed to push"
    assert facts["records"][0]["starts_at"].endswith("+00:00")


@pytest.mark.slow
def test_not_final_yet() -> None:
    """A batch that is not final has exit code 3, with and without --wait, and a line that says what to do."""
    rules = SandboxRules(api=ApiRules(batch_seconds=3600.0, batch_pending="pending"))
    with sandbox_in_a_thread(rules) as sandbox:
        batch = _pushed(sandbox, [number(1)])
        at_once = invoke(sandbox, "calls", "status", batch)
        waited = invoke(sandbox, "calls", "status", batch, "--wait", "0.2")

    for result in (at_once, waited):
        assert result.code == 3
        assert "1 pending" in result.out
        assert "--wait" in result.err


@pytest.mark.slow
def test_unknown_batch() -> None:
    """A batch that is not found has exit code 3, since it may be found later."""
    with sandbox_in_a_thread() as sandbox:
        at_once = invoke(sandbox, "calls", "status", "none")
        waited = invoke(sandbox, "calls", "status", "none", "--wait", "0.2")

    for result in (at_once, waited):
        assert (result.code, result.out) == (3, "")
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1
