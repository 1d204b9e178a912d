"""One process of the demo's fleet: calls until its standard input ends, and tells what it counts."""

from __future__ import annotations

import asyncio
import json
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
            await asyncio.wait([ended], timeout=_TELL_EVERY)
            _tell(tally)
        calling.cancel()
        await asyncio.wait([calling])
        _tell(tally)


def _tell(tally: Tally) -> None:
    sys.stdout.write(json.dumps(tally.taken()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
