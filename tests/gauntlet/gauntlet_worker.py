"""Call the API until standard input ends, and print each result as one JSON line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from typing import Any

import aiohttp

from truecaller_vbc import TokenError, TokenPolicy, VBCError, VBCSession

SCALE = 1 / 1200
CALLERS = 3


def report(**values: Any) -> None:
    sys.stdout.write(json.dumps({"at": time.time(), **values}) + "\n")
    sys.stdout.flush()


async def call(vbc: VBCSession) -> None:
    """Call without end, and report each result."""
    while True:
        try:
            async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
                await response.read()
                report(status=response.status)
        except TokenError as error:
            report(token_error=type(error).__name__, dated=error.retry_at is not None)
        except (VBCError, aiohttp.ClientError, TimeoutError) as error:
            report(error=type(error).__name__)
        except Exception as error:
            report(bug=repr(error))
        await asyncio.sleep(0.05)


async def main(abandon: bool) -> None:
    vbc = VBCSession.from_env(policy=TokenPolicy().scaled(SCALE))
    await vbc.__aenter__()
    calling = [asyncio.create_task(call(vbc)) for _ in range(CALLERS)]
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not ended.done():
        await asyncio.wait([ended], timeout=0.25)
        report(descriptors=len(os.listdir("/proc/self/fd")), tasks=len(asyncio.all_tasks()))  # noqa: PTH208
    for task in calling:
        task.cancel()
    await asyncio.wait(calling)
    if not abandon:
        await vbc.close()
        report(left=[task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()])


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    asyncio.run(main("--abandon" in sys.argv), debug=False)
