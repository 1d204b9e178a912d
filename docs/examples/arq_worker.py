"""Announce calls from an arq worker."""

import os
from typing import Any

from arq import Retry
from arq.connections import RedisSettings

from truecaller_vbc import APIConnectionError, CallRecord, TokenError, VBCSession


async def startup(ctx: dict[str, Any]) -> None:
    ctx["vbc"] = await VBCSession.from_env().open()


async def shutdown(ctx: dict[str, Any]) -> None:
    await ctx["vbc"].close()


async def announce(ctx: dict[str, Any], record: dict[str, Any]) -> str:
    try:
        return str((await ctx["vbc"].calls.push(CallRecord.from_mapping(record))).status)
    except (TokenError, APIConnectionError) as error:
        raise Retry(defer=30) from error


class WorkerSettings:
    functions = [announce]
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://localhost"))
