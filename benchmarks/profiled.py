"""Run one operation many times under cProfile and print the function calls as JSON.

`profiles.py` starts this file in a process of its own, as ``python profiled.py OPERATION TIMES``, and writes the
server, its credentials and a record to standard input. The library is the first one on ``PYTHONPATH``, which may be an
earlier version, so this file imports nothing else of the project.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final, TypeAlias

import aiohttp

from truecaller_vbc import Credentials, VBCSession

WARM_UP: Final = 50
Operation: TypeAlias = Callable[[], Awaitable[object]]


async def operation(name: str, vbc: VBCSession, http: aiohttp.ClientSession, record: dict[str, Any]) -> Operation:
    """Return the operation called token, post, push or bare."""
    path = f"/v2/clients/{vbc.client_account_id}/dynamic_call_record"
    header = {"Authorization": str((await vbc.token()).authorization)}
    url = f"{vbc.base_url.origin()}{path}"

    async def post() -> None:
        async with vbc.post(path, json=record) as response:
            await response.read()

    async def bare() -> None:
        async with http.post(url, json=record, headers=header) as response:
            await response.read()

    if name == "push":
        from truecaller_vbc import CallRecord  # noqa: PLC0415 - earlier versions do not have it

        fields = record | {"caller_number": "+911234567890", "receiver_number": "+919876543210"}
        return lambda: vbc.calls.push(CallRecord(**fields))
    return {"token": vbc.token, "post": post, "bare": bare}[name]


async def main(
    name: str, times: int, base_url: str, credentials: Credentials, record: dict[str, Any]
) -> list[tuple[str, str, int, float]]:
    """Return file, function, calls and own seconds of all functions that ran."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        options: dict[str, Any] = {}
        if name == "push":
            from truecaller_vbc import APIPolicy  # noqa: PLC0415 - earlier versions do not have it

            options["api_policy"] = APIPolicy(realtime_rate=None)
        vbc = await stack.enter_async_context(VBCSession(credentials, base_url=base_url, http=http, **options))
        run = await operation(name, vbc, http, record)
        for _ in range(WARM_UP):
            await run()
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(times):
            await run()
        profile.disable()
    return [
        ("", entry.code, entry.callcount, entry.inlinetime)
        if isinstance(entry.code, str)
        else (entry.code.co_filename, entry.code.co_qualname, entry.callcount, entry.inlinetime)
        for entry in profile.getstats()
    ]


if __name__ == "__main__":
    task = json.load(sys.stdin)
    key = Credentials(*task["credentials"])
    rows = asyncio.run(main(sys.argv[1], int(sys.argv[2]), task["base_url"], key, task["record"]))
    print(json.dumps(rows))
