"""Choose the next step: calls, time, sessions that open and close, and faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from .faults import FAULTS, heal, inflict

if TYPE_CHECKING:
    from .simulated_session import Session
    from .simulation import Simulation

Step: TypeAlias = "Callable[[Simulation], Awaitable[str | None]]"
_KINDS: Final = ("token", "token", "get", "get", "get", "post", "middleware", "hurried")


def _any_session(simulation: Simulation) -> Session:
    running = [session for session in simulation.sessions if session.number not in simulation.loop.stopped]
    return simulation.rng.choice(running or simulation.sessions)


async def one_call(simulation: Simulation) -> str:
    kind = simulation.rng.choice(_KINDS)
    call = await simulation.call(_any_session(simulation), kind)
    return f"{kind}: {call.result}"


async def call_in_background(simulation: Simulation) -> str:
    """Start a call and continue, so that the next step happens while it runs."""
    kind = simulation.rng.choice(_KINDS)
    simulation.call(_any_session(simulation), kind)
    await asyncio.sleep(simulation.rng.choice((0.0, 0.01, 0.3)))
    return kind


async def crowd(simulation: Simulation) -> str:
    """Start many calls at once, and cancel some of them."""
    session = _any_session(simulation)
    size = simulation.rng.choice((2, 5, 20))
    callers = [simulation.call(session, simulation.rng.choice(_KINDS)) for _ in range(size)]
    if simulation.rng.random() < 0.5:
        await asyncio.sleep(simulation.rng.choice((0.0, 0.01, 0.1)))
        for caller in callers[: simulation.rng.randrange(size + 1)]:
            caller.cancel()
        simulation.count("cancelled callers")
    results = await asyncio.gather(*callers, return_exceptions=True)
    return " ".join(type(r).__name__ if isinstance(r, BaseException) else r.result for r in results)


async def every_session(simulation: Simulation) -> str:
    """Call from every session at once."""
    callers = [simulation.call(session, "token") for session in simulation.sessions]
    return " ".join(call.result for call in await asyncio.gather(*callers))


async def status_read(simulation: Simulation) -> str:
    session = _any_session(simulation)
    token = session.vbc.current_token
    return f"{token is not None} {session.vbc.status().state}"


async def moment(simulation: Simulation) -> None:
    await asyncio.sleep(simulation.rng.uniform(0, 2))


async def minutes(simulation: Simulation) -> None:
    await asyncio.sleep(simulation.rng.uniform(2, 600))


async def hours(simulation: Simulation) -> None:
    await asyncio.sleep(simulation.rng.uniform(600, 6_000))


async def steady_traffic(simulation: Simulation) -> str:
    """Call regularly for about an hour."""
    results = set()
    for _ in range(12):
        results.add((await simulation.call(_any_session(simulation), "get")).result)
        await asyncio.sleep(simulation.rng.uniform(5, 400))
    return " ".join(sorted(results))


async def storm(simulation: Simulation) -> str:
    """Revoke each token right after its use, until the quota is used up and beyond."""
    session = _any_session(simulation)
    results = []
    for _ in range(14):
        results.append((await simulation.call(session, "get")).result)
        simulation.revoke_all()
        await asyncio.sleep(simulation.rng.uniform(25, 60))
    return " ".join(results)


async def paced_burst(simulation: Simulation) -> str:
    """Start more typed calls at once than one token is good for, so that the pool grows."""
    session = _any_session(simulation)
    size = simulation.rng.choice((4, 8, 16, 30))
    results = await asyncio.gather(*(simulation.call(session, "paced") for _ in range(size)))
    return " ".join(sorted({call.result for call in results}))


async def paced_burst_in_background(simulation: Simulation) -> str:
    """Start the same, and continue while the calls wait for their turn."""
    session = _any_session(simulation)
    size = simulation.rng.choice((8, 30))
    callers = [simulation.call(session, "paced") for _ in range(size)]
    await asyncio.sleep(simulation.rng.choice((0.0, 0.3, 2.0)))
    for caller in callers[: simulation.rng.choice((0, 0, 2))]:
        caller.cancel()
    return str(size)


async def older_tokens(simulation: Simulation) -> str:
    """Send a few requests with any of the live tokens."""
    session = _any_session(simulation)
    results = await asyncio.gather(*(simulation.call(session, "older") for _ in range(4)))
    return " ".join(call.result for call in results)


async def growth_everywhere(simulation: Simulation) -> str:
    """Ask for a further token in every process at once."""
    for session in simulation.sessions:
        if session.pool is not None:
            simulation.in_process(session, session.vbc._holder.grow)
    await asyncio.sleep(simulation.rng.choice((0.0, 0.5, 5.0)))
    return " ".join(str(len(session.live())) for session in simulation.sessions)


async def session_opened(simulation: Simulation) -> str:
    if len(simulation.sessions) >= simulation.settings.most_sessions:
        return await session_replaced(simulation)
    return str((await simulation.open_session()).number)


async def session_replaced(simulation: Simulation) -> str:
    """Close a session and open another while calls and mints may be running."""
    old = _any_session(simulation)
    simulation.run_in_background(simulation.close_session(old))
    await asyncio.sleep(0)
    new = await simulation.open_session()
    return f"{old.number} by {new.number}"


async def all_healed(simulation: Simulation) -> None:
    """End all faults, so that the next one meets a healthy system."""
    await heal(simulation)


_STEPS: Final[dict[str, tuple[int, Step]]] = {
    "one call": (40, one_call),
    "call in the background": (14, call_in_background),
    "crowd": (14, crowd),
    "every session": (8, every_session),
    "status read": (6, status_read),
    "moment": (16, moment),
    "minutes": (22, minutes),
    "hours": (4, hours),
    "steady traffic": (4, steady_traffic),
    "storm": (2, storm),
    "session opened": (4, session_opened),
    "session replaced": (4, session_replaced),
    "all healed": (3, all_healed),
    **{name: (weight, partial(inflict, fault=fault)) for name, (weight, fault) in FAULTS.items()},
}
_POOL_STEPS: Final[dict[str, tuple[int, Step]]] = {
    **_STEPS,
    "paced burst": (24, paced_burst),
    "paced burst in the background": (10, paced_burst_in_background),
    "older tokens": (24, older_tokens),
    "growth everywhere": (20, growth_everywhere),
}


_CALM_STEPS: Final[dict[str, tuple[int, Step]]] = {
    name: (5 * weight if name not in FAULTS else weight, step) for name, (weight, step) in _POOL_STEPS.items()
}


def next_step(simulation: Simulation) -> tuple[str, Step]:
    """Draw the next step from the simulation's random numbers."""
    steps = _STEPS if simulation.pools.tokens == 1 else _CALM_STEPS if simulation.pools.calm else _POOL_STEPS
    (name,) = simulation.rng.choices(list(steps), [weight for weight, _ in steps.values()])
    return name, steps[name][1]
