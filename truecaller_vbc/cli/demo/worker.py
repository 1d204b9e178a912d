"""One process of the demo's fleet: calls until its standard input ends, and tells what it counts."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Final

from ...session import VBCSession
from .load import call_on
from .options import POLICY
from .tally import Tally

_TELL_EVERY: Final = 0.25


async def main(callers: int) -> None:
    """Call, and tell, until the parent closes our standard input."""
    tally = Tally()
    async with VBCSession.from_env(policy=POLICY) as vbc:
        calling = asyncio.create_task(call_on(vbc, callers, tally))
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        while not ended.done():
            await asyncio.wait([ended, calling], timeout=_TELL_EVERY, return_when=asyncio.FIRST_COMPLETED)
            _tell(tally)
            if calling.done():
                # Callers end only of a bug. Not by raising: that would wait for the thread that reads our input.
                os._exit(1)
        calling.cancel()
        await asyncio.wait([calling])
        _tell(tally)


def _tell(tally: Tally) -> None:
    sys.stdout.write(json.dumps(tally.taken()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
