"""Use the public names wrongly. Type checkers must report each line that has an ignore comment; it is never run.

mypy and pyright report an ignore comment without an error, so each of these lines is known to be one.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from truecaller_vbc import APIPolicy, CallRecord, Credentials, TokenPolicy, VBCAccounts, VBCSession
from truecaller_vbc.sandbox import Sandbox


async def wrong(load: Callable[[str], Awaitable[Credentials]]) -> None:
    VBCAccounts(load, polcy=TokenPolicy())  # type: ignore[call-arg]
    Sandbox().fail_next("calls", stats=503)  # type: ignore[call-arg]
    VBCSession.from_env(polcy=TokenPolicy())  # type: ignore[call-arg]
    VBCSession.from_env(store=3)  # type: ignore[arg-type]
    VBCSession.from_env(refresh="never")  # type: ignore[arg-type]
    async with VBCSession.from_env() as vbc:
        await vbc.get("/x", heders={"a": "b"})  # type: ignore[call-arg]
        await vbc.get("/x", timeout="soon")  # type: ignore[arg-type]
        await vbc.request("GET", "/x", jsn={})  # type: ignore[call-arg]
        await vbc.calls.push("x")  # type: ignore[arg-type]
        await vbc.labels.list(timout=3)  # type: ignore[call-arg]
        await vbc.labels.list(timeout="soon")  # type: ignore[arg-type]
        vbc.status().sate  # type: ignore[attr-defined]  # noqa: B018
        async with vbc.token():  # type: ignore[attr-defined]
            pass
        vbc.get("/x").json()  # type: ignore[attr-defined]
        for _ in vbc.numbers.numbers():  # type: ignore[attr-defined]
            pass
        vbc.calls.push_batch([])  # type: ignore[unused-coroutine]
        async for result in vbc.calls.push_all([]):
            result.batch.batch_id  # type: ignore[union-attr]  # noqa: B018
    CallRecord("a", "b")  # type: ignore[call-arg]
    CallRecord(caller_number="+91", receiver_number="+91", starts_at="today", ends_at=datetime.now(UTC), label_id=None)  # type: ignore[arg-type]
    TokenPolicy(lifetime="an hour")  # type: ignore[arg-type]
    TokenPolicy(lifetim=30)  # type: ignore[call-arg]
    APIPolicy(timeout="soon")  # type: ignore[arg-type]
    Credentials("a", "b")  # type: ignore[call-arg]
