"""What happens next: traffic, time, sessions that come and go, and faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from .faults import FAULTS, heal, inflict

if TYPE_CHECKING:
    from .simulation import Session, World

Step: TypeAlias = "Callable[[World], Awaitable[str | None]]"
_KINDS: Final = ("token", "token", "get", "get", "get", "post", "middleware", "hurried")


def _any_session(world: World) -> Session:
    return world.rng.choice(world.sessions)


async def one_call(world: World) -> str:
    kind = world.rng.choice(_KINDS)
    call = await world.call(_any_session(world), kind)
    return f"{kind}: {call.result}"


async def left_behind(world: World) -> str:
    """A call that nobody waits for here: what follows happens in the middle of it."""
    kind = world.rng.choice(_KINDS)
    world.call(_any_session(world), kind)
    await asyncio.sleep(world.rng.choice((0.0, 0.01, 0.3)))
    return kind


async def crowd(world: World) -> str:
    """Many at once, of whom some leave early."""
    session = _any_session(world)
    size = world.rng.choice((2, 5, 20))
    callers = [world.call(session, world.rng.choice(_KINDS)) for _ in range(size)]
    if world.rng.random() < 0.5:
        await asyncio.sleep(world.rng.choice((0.0, 0.01, 0.1)))
        for caller in callers[: world.rng.randrange(size + 1)]:
            caller.cancel()
        world.count("cancelled callers")
    results = await asyncio.gather(*callers, return_exceptions=True)
    return " ".join(type(r).__name__ if isinstance(r, BaseException) else r.result for r in results)


async def everybody(world: World) -> str:
    """Every session at once."""
    callers = [world.call(session, "token") for session in world.sessions]
    return " ".join(call.result for call in await asyncio.gather(*callers))


async def looked_at(world: World) -> str:
    session = _any_session(world)
    token = session.vbc.current_token
    return f"{token is not None} {session.vbc.status().state}"


async def moment(world: World) -> None:
    await asyncio.sleep(world.rng.uniform(0, 2))


async def minutes(world: World) -> None:
    await asyncio.sleep(world.rng.uniform(2, 600))


async def hours(world: World) -> None:
    await asyncio.sleep(world.rng.uniform(600, 6_000))


async def steady_traffic(world: World) -> str:
    """An hour or so in which somebody calls all the time."""
    results = set()
    for _ in range(12):
        results.add((await world.call(_any_session(world), "get")).result)
        await asyncio.sleep(world.rng.uniform(5, 400))
    return " ".join(sorted(results))


async def storm(world: World) -> str:
    """Tokens die as soon as they are used, until the quota is spent and longer."""
    session = _any_session(world)
    results = []
    for _ in range(14):
        results.append((await world.call(session, "get")).result)
        world.sandbox.revoke_all()
        await asyncio.sleep(world.rng.uniform(25, 60))
    return " ".join(results)


async def session_opened(world: World) -> str:
    if len(world.sessions) >= world.rules_of_life.most_sessions:
        return await session_replaced(world)
    return str((await world.open_session()).number)


async def session_replaced(world: World) -> str:
    """A restart; where a call is under way, in the middle of it, and where a mint is, in the middle of that."""
    old = _any_session(world)
    world.run(world.close_session(old))
    await asyncio.sleep(0)
    new = await world.open_session()
    return f"{old.number} by {new.number}"


async def all_well(world: World) -> None:
    """Everything is mended, so that the next trouble meets a world that works."""
    await heal(world)


_STEPS: Final[dict[str, tuple[int, Step]]] = {
    "one call": (40, one_call),
    "call left behind": (14, left_behind),
    "crowd": (14, crowd),
    "every session": (8, everybody),
    "looked at": (6, looked_at),
    "moment": (16, moment),
    "minutes": (22, minutes),
    "hours": (4, hours),
    "steady traffic": (4, steady_traffic),
    "storm": (2, storm),
    "session opened": (4, session_opened),
    "session replaced": (4, session_replaced),
    "all well": (3, all_well),
    **{name: (weight, partial(inflict, fault=fault)) for name, (weight, fault) in FAULTS.items()},
}
_NAMES: Final = list(_STEPS)
_WEIGHTS: Final = [weight for weight, _ in _STEPS.values()]


def next_step(world: World) -> tuple[str, Step]:
    """Drawn from the world's own dice."""
    (name,) = world.rng.choices(_NAMES, _WEIGHTS)
    return name, _STEPS[name][1]
