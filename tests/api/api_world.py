"""A session with a sandbox of its own rules, and records that both take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from truecaller_vbc import APIPolicy, CallRecord, VBCSession
from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules

from ..token.virtual_time import VirtualLoop

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
        _counted() as http,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, api_policy=policy, http=http) as vbc,
    ):
        yield sandbox, vbc


@asynccontextmanager
async def _counted() -> AsyncIterator[aiohttp.ClientSession | None]:
    """In virtual time, a session that tells the loop what is under way, so that time does not jump over an answer."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        yield None
        return

    async def begins(*_: object) -> None:
        loop.in_flight += 1

    async def ends(*_: object) -> None:
        loop.in_flight -= 1

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begins)
    trace.on_request_end.append(ends)
    trace.on_request_exception.append(ends)
    async with aiohttp.ClientSession(trace_configs=[trace]) as http:
        yield http


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
