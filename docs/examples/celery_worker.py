"""Announce calls from a Celery worker: each task opens a session on its own loop, and the store keeps the token."""

import asyncio
import os
from typing import Any

from celery import Celery

from truecaller_vbc import CallRecord, VBCSession

URL = os.environ.get("REDIS_URL", "redis://localhost")
app = Celery("announcements", broker=URL, backend=URL)


@app.task(name="announce")
def announce(record: dict[str, Any]) -> str:
    return asyncio.run(push(CallRecord.from_mapping(record)))


async def push(record: CallRecord) -> str:
    async with VBCSession.from_env(refresh="on_demand") as vbc:
        return str((await vbc.calls.push(record)).status)
