"""Open a sandbox with given rules and a session with it, and build records that the sandbox accepts."""

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
async def sandbox_session(
    policy: APIPolicy = FAST, clock: Callable[[], float] | None = None, **rules: Any
) -> AsyncIterator[tuple[Sandbox, VBCSession]]:
    """Open a sandbox whose API has these rules, and a session with it. Rates are not limited by default."""
    rules = {"realtime_per_second": None, "batch_per_minute": None, **rules}
    async with (
        Sandbox(SandboxRules(api=ApiRules(**rules)), clock=clock) as sandbox,
        counted_http() as http,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, api_policy=policy, http=http) as vbc,
    ):
        yield sandbox, vbc


@asynccontextmanager
async def counted_http() -> AsyncIterator[aiohttp.ClientSession | None]:
    """Open an aiohttp session that counts its requests on a virtual loop, so that time does not skip over an answer."""
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
    """Return the receiver with this number; the sandbox accepts all of them."""
    return f"+91{7_000_010_000 + number * 10:010}"


def fields(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a valid record as a mapping."""
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
    """Return a valid record."""
    return CallRecord(**fields(number, **changes))


def count_requests(sandbox: Sandbox, end: str) -> int:
    """Count the requests to paths with this end."""
    return sum(entry.path.endswith(end) for entry in sandbox.log)
