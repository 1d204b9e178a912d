"""The end of the play: the last act, or what came before it."""

from __future__ import annotations

import asyncio

from .company import Company
from .play import Play


async def play_out(play: Play, company: Company, seconds: float) -> str | None:
    """Play to the end, but for no longer than this, and only as long as anybody calls.

    Returns:
        What kept the play from its end, or None.
    """
    acting = asyncio.create_task(play.run())
    try:
        await asyncio.wait([acting, company.playing], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if acting.done() and not isinstance(acting.exception(), TimeoutError):
            return acting.result()
        if company.playing.done():
            return "the callers stopped"
        return f"the play came to a halt in: {play.act}"
    finally:
        acting.cancel()
        await asyncio.wait([acting])
