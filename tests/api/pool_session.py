"""Open a session with a pool of tokens in virtual time, and a sandbox with the documented rates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from truecaller_vbc import APIPolicy, CallRecord, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox, SandboxRules

from ..token.virtual_time import LoopClock
from .sandbox_session import counted_http, record


@asynccontextmanager
async def pool_session(
    tokens: int, *, api: APIPolicy | None = None, store: Any = None, **rules: Any
) -> AsyncIterator[tuple[Sandbox, VBCSession, list[Any]]]:
    """Open them, with a list of the session's events."""
    events: list[Any] = []
    async with (
        Sandbox(SandboxRules(**rules)) as sandbox,
        counted_http() as http,
        VBCSession(
            sandbox.credentials,
            base_url=sandbox.base_url,
            policy=TokenPolicy(tokens=tokens),
            api_policy=api,
            http=http,
            store=store,
            clock=LoopClock(asyncio.get_running_loop().time),
            on_event=events.append,
        ) as vbc,
    ):
        yield sandbox, vbc, events


def records(count: int) -> list[CallRecord]:
    """Return records for so many receivers."""
    return [record(number) for number in range(count)]
