"""Announce calls from a taskiq worker."""

import os
from typing import Any

from taskiq import Context, TaskiqDepends, TaskiqEvents, TaskiqState
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from truecaller_vbc import CallRecord, VBCSession

URL = os.environ.get("REDIS_URL", "redis://localhost")
broker = ListQueueBroker(URL).with_result_backend(RedisAsyncResultBackend(URL))


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state: TaskiqState) -> None:
    state.vbc = await VBCSession.from_env().open()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(state: TaskiqState) -> None:
    await state.vbc.close()


@broker.task
async def announce(record: dict[str, Any], context: Context = TaskiqDepends()) -> str:  # noqa: B008
    return str((await context.state.vbc.calls.push(CallRecord.from_mapping(record))).status)
