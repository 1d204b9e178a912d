"""A session with a sandbox of its own rules, and records that both take."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from truecaller_vbc import APIPolicy, CallRecord, VBCSession
from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules

LABEL: Final = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
FEATURE_SET: Final = "069d2e3a-41e6-41f9-a768-157d7e3bd6b9"
HOUR: Final = 3_600_000
FAST: Final = APIPolicy(realtime_rate=None, batch_rate=None).scaled(1 / 100)


@asynccontextmanager
async def api_world(
    policy: APIPolicy = FAST, clock: Callable[[], float] | None = None, **rules: Any
) -> AsyncIterator[tuple[Sandbox, VBCSession]]:
    """An open sandbox whose API has these rules, and an open session with it. No limit unless one is given."""
    rules = {"realtime_per_second": None, "batch_per_minute": None, **rules}
    async with (
        Sandbox(SandboxRules(api=ApiRules(**rules)), clock=clock) as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, api_policy=policy) as vbc,
    ):
        yield sandbox, vbc


def receiver(number: int) -> str:
    """One of many numbers, none of them with an end that means something to the sandbox."""
    return f"+91{7_000_010_000 + number * 10:010}"


def fields(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A valid record as a mapping."""
    now = int(time.time() * 1000)
    return {
        "caller_number": "+911234567890",
        "receiver_number": receiver(number),
        "starts_at": now,
        "ends_at": now + HOUR,
        "label_id": LABEL,
        "dynamic_call_reason": "Calling you for KYC",
        **changes,
    }


def record(number: int = 0, **changes: Any) -> CallRecord:
    """A valid record."""
    return CallRecord(**fields(number, **changes))


def posts(sandbox: Sandbox, end: str) -> int:
    """How many requests reached paths with this end."""
    return sum(entry.path.endswith(end) for entry in sandbox.log)
