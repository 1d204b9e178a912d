"""Open a session before workers are forked, as a preloading server does, and print what the workers and the server got.

    python -m tests.processes.preloading_server

Workers end normally, so their interpreters free everything that they have inherited.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from truecaller_vbc import VBCError, VBCSession

WORKERS = 3


async def _use(vbc: VBCSession) -> str:
    async with vbc:
        await vbc.labels.list()
        return (await vbc.token()).fingerprint


def _attempt(vbc: VBCSession) -> str:
    try:
        return asyncio.run(_use(vbc))
    except VBCError as error:
        return str(error)


def _close(vbc: VBCSession) -> str:
    asyncio.run(vbc.close())
    return vbc.status().state


def main() -> None:
    loop = asyncio.new_event_loop()
    opened = loop.run_until_complete(VBCSession.from_env().open())
    preloaded = VBCSession.from_env()
    before = loop.run_until_complete(opened.token()).fingerprint
    loop.run_until_complete(opened.labels.list())
    read, write = os.pipe()
    workers = []
    for _ in range(WORKERS):
        if (worker := os.fork()) == 0:
            os.write(write, json.dumps([_attempt(opened), _attempt(preloaded), _close(opened)]).encode() + b"\n")
            sys.exit()
        workers.append(worker)
    codes = [os.waitpid(worker, 0)[1] for worker in workers]
    os.close(write)
    with os.fdopen(read) as answers:
        given = [json.loads(line) for line in answers]
    after = loop.run_until_complete(opened.token()).fingerprint
    for _ in range(3):
        loop.run_until_complete(asyncio.wait_for(opened.labels.list(), 5))
    loop.run_until_complete(opened.close())
    loop.close()
    print(json.dumps({"workers": given, "codes": codes, "tokens": [before, after]}))


if __name__ == "__main__":
    main()
