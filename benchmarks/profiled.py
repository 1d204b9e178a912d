"""One path under cProfile, in a process of its own: which functions ran, how often, and how long each took itself.

``python profiled.py PATH OPERATIONS``, with the server, its credentials and a record on standard input. The library is
the first on ``PYTHONPATH``, so that an earlier one can be looked at in the same way.
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
import attrs

from truecaller_vbc import Credentials, VBCSession

WARM: Final = 50
Operation: TypeAlias = Callable[[], Awaitable[object]]


@attrs.frozen
class Scene:
    """What an operation has at hand."""

    vbc: VBCSession
    http: aiohttp.ClientSession
    record: dict[str, Any]

    @property
    def path(self) -> str:
        """Where records are posted to."""
        return f"/v2/clients/{self.vbc.client_account_id}/dynamic_call_record"


async def token(scene: Scene) -> Operation:
    """A fresh token is asked for."""
    return scene.vbc.token


async def post(scene: Scene) -> Operation:
    """One record is posted, and its answer read."""
    path = scene.path

    async def one() -> None:
        async with scene.vbc.post(path, json=scene.record) as response:
            await response.read()

    return one


async def push(scene: Scene) -> Operation:
    """One record is made, checked and pushed."""
    from truecaller_vbc import CallRecord  # noqa: PLC0415 - an earlier library may have none

    fields = scene.record | {"caller_number": "+911234567890", "receiver_number": "+919876543210"}

    async def one() -> None:
        await scene.vbc.calls.push(CallRecord(**fields))

    return one


async def bare(scene: Scene) -> Operation:
    """The same POST, by aiohttp with a static header."""
    url = f"{scene.vbc.base_url.origin()}{scene.path}"
    header = {"Authorization": str((await scene.vbc.token()).authorization)}

    async def one() -> None:
        async with scene.http.post(url, json=scene.record, headers=header) as response:
            await response.read()

    return one


PATHS: Final = {"token": token, "post": post, "push": push, "bare": bare}


async def main(
    path: str, operations: int, base_url: str, credentials: Credentials, record: dict[str, Any]
) -> list[tuple[str, str, int, float]]:
    """File, function, calls and own seconds of all that ran."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        unpaced: dict[str, Any] = {}
        if path == "push":
            from truecaller_vbc import APIPolicy  # noqa: PLC0415 - an earlier library may have none

            unpaced["api_policy"] = APIPolicy(realtime_rate=None)
        vbc = await stack.enter_async_context(VBCSession(credentials, base_url=base_url, http=http, **unpaced))
        await vbc.token()
        one = await PATHS[path](Scene(vbc, http, record))
        for _ in range(WARM):
            await one()
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(operations):
            await one()
        profile.disable()
    return [
        ("", entry.code, entry.callcount, entry.inlinetime)
        if isinstance(entry.code, str)
        else (entry.code.co_filename, entry.code.co_qualname, entry.callcount, entry.inlinetime)
        for entry in profile.getstats()
    ]


if __name__ == "__main__":
    given = json.load(sys.stdin)
    known = Credentials(*given["credentials"])
    rows = asyncio.run(main(sys.argv[1], int(sys.argv[2]), given["base_url"], known, given["record"]))
    print(json.dumps(rows))
