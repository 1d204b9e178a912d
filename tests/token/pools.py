"""Use a pool of tokens in virtual time, as the pace of typed calls and the transport do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from truecaller_vbc import AccessToken, MemoryStore, TokenPolicy
from truecaller_vbc.token.holder import TokenHolder

from .world import World, world

THREE: Final = TokenPolicy(tokens=3)


async def send(it: World, token: AccessToken, *, route: int | None = None) -> int:
    """Send a request with a token, again as the transport does, and return the last status.

    `route` is the status of a route that never looks at tokens.
    """
    sent = asyncio.get_running_loop().time()
    holder = it.holder
    status = route or (200 if it.server.accepts_token(token.value) else 401)
    if status < 400:
        holder.accepted(token, sent)
        return status
    if status != 401 or not await holder.rejected(token):
        return status
    for _ in range(2):
        other = await holder.replacement(token)
        status = route or (200 if it.server.accepts_token(other.value) else 401)
        if status < 400:
            holder.accepted(other)
        elif status == 401:
            if not await holder.replacement_rejected(token, other):
                break
            token = other
            continue
        if status < 500:
            holder.replacement_accepted(token, other)
        break
    return status


async def grow(it: World, times: int = 1) -> None:
    """Ask for a further token, after requests with the older ones, and wait for the end."""
    for _ in range(times):
        for token in it.holder.live_tokens()[1:]:
            await send(it, token)
        it.holder.grow()
        if it.holder._attempt is not None:
            await asyncio.wait([it.holder._attempt])


def values(holder: TokenHolder) -> list[str]:
    """Return the values of all live tokens, newest first."""
    return [token.value for token in holder.live_tokens()]


@asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[World, World]]:
    """Open two holders of one account with one store."""
    store = MemoryStore()
    async with world(policy=THREE, store=store, **options) as one:
        two = World(policy=THREE, store=store, server=one.server)
        two.holder.open(None)
        yield one, two
        await two.holder.close()
