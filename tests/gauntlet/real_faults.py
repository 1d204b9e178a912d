"""What is done to real processes, their server and their store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from truecaller_vbc.sandbox.faults import FaultOptions

from ..redis_server import RedisServer

if TYPE_CHECKING:
    from .real_processes import RealGauntlet

RealFault: TypeAlias = "Callable[[RealGauntlet], Awaitable[None]]"

_ANSWERS: Final[list[FaultOptions]] = [
    {"status": 503},
    {"status": 503, "headers": {"Retry-After": "1"}},
    {"status": 429},
    {"status": 429, "headers": {"Retry-After": "1"}},
    {"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}},
    {"status": 401},
    {"status": 200, "body": "<html>"},
    {"status": 200, "body": "<html>", "mint": True},
    {"drop": "before"},
    {"drop": "after"},
    {"drop": "mid"},
    {"delay": 0.5},
    {"delay": 3.0},
]


async def wrong_answers(it: RealGauntlet) -> None:
    it.sandbox.fail_next("token", times=it.rng.choice((1, 3)), **it.rng.choice(_ANSWERS))
    it.sandbox.revoke_all()
    await asyncio.sleep(it.rng.uniform(0.1, 1.0))


async def revoked_again_and_again(it: RealGauntlet) -> None:
    for _ in range(it.rng.choice((1, 5, 20))):
        it.sandbox.revoke_all()
        await asyncio.sleep(it.rng.uniform(0.0, 0.2))


async def connections_refused(it: RealGauntlet) -> None:
    await it.sandbox.pause_listening()
    await asyncio.sleep(it.rng.uniform(0.1, 1.0))
    await it.sandbox.resume_listening()


async def connections_dropped(it: RealGauntlet) -> None:
    await it.sandbox.drop_connections()


async def stopped_for_longer_than_a_token_lives(it: RealGauntlet) -> None:
    await it.fleet.stop_for(it.rng.choice(it.fleet.members), it.rng.uniform(3.2, 4.5))


async def killed(it: RealGauntlet) -> None:
    await it.fleet.kill(it.rng.choice(it.fleet.members))
    await it.fleet.start()


async def killed_in_mid_mint(it: RealGauntlet) -> None:
    """The only one, so that it is the one that mints."""
    for member in it.fleet.members[1:]:
        await it.fleet.kill(member)
    it.sandbox.fail_next("token", delay=1.0)
    it.sandbox.revoke_all()
    async with asyncio.timeout(20):
        while it.sandbox.faults_left("token"):
            await asyncio.sleep(0.005)
    await it.fleet.kill(it.fleet.members[0])
    for _ in range(it.size):
        await it.fleet.start()


async def stopped_in_mid_mint(it: RealGauntlet) -> None:
    """For longer than its lease: another must take over, and the late one must not overwrite it."""
    it.sandbox.fail_next("token", delay=0.3)
    it.sandbox.revoke_all()
    async with asyncio.timeout(20):
        while it.sandbox.faults_left("token"):
            await asyncio.sleep(0.005)
    await it.fleet.stop_for(it.rng.choice(it.fleet.members), 4.5)


async def store_lost(it: RealGauntlet) -> None:
    """A Redis that is killed and comes back empty; a file that is damaged."""
    if isinstance(it.store, RedisServer):
        it.store.kill()
        await asyncio.sleep(it.rng.choice((0.1, 2.0, 4.0)))
        it.store.start()
    elif it.store.exists():
        it.store.write_text(it.rng.choice(("", "{", "\x00" * 40)))


FAULTS: Final[dict[str, RealFault]] = {
    fault.__name__.replace("_", " "): fault
    for fault in (
        wrong_answers,
        wrong_answers,
        revoked_again_and_again,
        connections_refused,
        connections_dropped,
        stopped_for_longer_than_a_token_lives,
        killed,
        killed_in_mid_mint,
        stopped_in_mid_mint,
        store_lost,
    )
}
WEIGHTS: Final = {"wrong answers": 4, "revoked again and again": 2}
Store: TypeAlias = RedisServer | Path
