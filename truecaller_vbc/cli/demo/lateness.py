"""How late an event loop comes: what tells a slow machine from a library that did wrong."""

from __future__ import annotations

import asyncio
from typing import Final

from .tally import Tally

_BEAT: Final = 0.02


async def watch(tally: Tally) -> None:
    """Note the most that this loop came late, until cancelled."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + _BEAT
        await asyncio.sleep(_BEAT)
        tally.latest = max(tally.latest, clock() - due)
