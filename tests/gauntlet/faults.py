"""Everything that goes wrong, by name. Each is done to a world, and mended by `heal`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from truecaller_vbc import FileStore, MemoryStore
from truecaller_vbc.sandbox.faults import Endpoint, FaultOptions

from .faulty_store import MOODS, FickleStore

if TYPE_CHECKING:
    from .simulation import World

Fault: TypeAlias = "Callable[[World], Awaitable[str] | str]"

_ENDPOINTS: Final[tuple[Endpoint, ...]] = ("token", "token", "api", "*")


def _some_seconds(world: World) -> float:
    return world.rng.choice((0.5, 2.0, 9.0, 14.0, 16.0, 40.0))


def _answers(world: World) -> dict[str, FaultOptions]:
    """A wrong answer for each name, the same from every call: the queue or an outage takes it as it is."""
    soon = world.sandbox._clock.wall(world.sandbox._clock.elapsed() + 90)
    garbage: list[Any] = [
        "<html>",
        b"\xff\xfe\x00",
        [],
        {},
        {"token": 7},
        {"token": ""},
        {"token": "a\nb"},
        "x" * 70_000,
    ]
    return {
        "5xx": {"status": world.rng.choice((500, 502, 503, 504))},
        "5xx with Retry-After": {
            "status": 503,
            "headers": {"Retry-After": world.rng.choice(("7", "120", "999999", "x"))},
        },
        "429": {"status": 429},
        "429 with Retry-After": {
            "status": 429,
            "headers": {"Retry-After": world.rng.choice(("1", "30", "600", "nan"))},
        },
        "429 with a date": {
            "status": 429,
            "headers": {"Retry-After": format_datetime(soon, usegmt=True), "Date": world.sandbox._clock.date()},
        },
        "4xx that speaks of a limit": {"status": 400, "body": {"slug": "x", "message": "maximum number of tokens"}},
        "refused credentials": {"status": world.rng.choice((400, 401, 403, 404))},
        "another 4xx": {"status": world.rng.choice((405, 409, 415, 422))},
        "redirect": {"status": world.rng.choice((301, 302, 307)), "headers": {"Location": "http://127.0.0.1:9/"}},
        "garbage": {"status": 200, "body": world.rng.choice(garbage)},
        "garbage after a mint": {"status": 200, "body": world.rng.choice(garbage), "mint": True},
        "dropped before": {"drop": "before"},
        "dropped after": {"drop": "after"},
        "dropped in the body": {"drop": "mid"},
        "latency": {"delay": _some_seconds(world)},
        "hangs": {"delay": float("inf")},
        "trickles": {"slow": _some_seconds(world)},
    }


def _on_the_wire(world: World, outage: bool) -> str:
    kinds = _answers(world)
    kind = world.rng.choice(list(kinds))
    endpoint: Endpoint = world.rng.choice(_ENDPOINTS)
    if endpoint != "token" and kind.startswith(("429", "4xx", "another 4xx", "redirect", "refused")):
        endpoint = "token"
    if outage:
        world.sandbox.set_outage(endpoint, **kinds[kind])
    else:
        world.sandbox.fail_next(endpoint, times=world.rng.choice((1, 1, 2, 5)), **kinds[kind])
    label = f"fault {'outage: ' if outage else ''}{kind}"
    world.count(label)
    return f"{endpoint} {kind}"


def next_requests(world: World) -> str:
    return _on_the_wire(world, outage=False)


def outage(world: World) -> str:
    return _on_the_wire(world, outage=True)


def outage_ends(world: World) -> str:
    for name in _ENDPOINTS:
        world.sandbox.end_outage(name)
    return ""


def revoked(world: World) -> str:
    world.sandbox.revoke_all()
    return ""


async def connections_dropped(world: World) -> str:
    if not world.paused:
        await world.sandbox.drop_connections()
    return ""


async def connections_refused(world: World) -> str:
    if world.paused:
        await world.sandbox.resume_listening()
    else:
        await world.sandbox.pause_listening()
    world.paused = not world.paused
    return "paused" if world.paused else "resumed"


def wall_clock_stepped(world: World) -> str:
    by = world.rng.choice((-86_400.0, -3_600.0, -90.0, -1.0, 1.0, 90.0, 3_600.0, 86_400.0))
    world.clock.step(by)
    world.stepped_at = world.now()
    if by < 0:
        world.stepped_back_until = max(world.stepped_back_until, world.now()) - by
    return f"{by:g}"


async def suspended(world: World) -> str:
    seconds = world.rng.choice((5.0, 300.0, 1_900.0, 3_700.0, 40_000.0))
    world.clock.suspend(seconds)
    world.suspended_at, world.suspended_for = world.loop.time(), seconds
    await asyncio.sleep(1.01)  # the fast path of readers looks at no clock for up to a second
    return f"{seconds:g}"


def store_fails(world: World) -> str:
    mood = world.rng.choice(MOODS)
    world.condition.fail(mood)
    label = f"fault store {mood}"
    world.count(label)
    return mood


def store_is_back(world: World) -> str:
    world.condition.mend()
    return ""


def store_forgets(world: World) -> str:
    """A Redis that was killed and is empty, or a file that somebody damaged."""
    inner = cast(FickleStore, world._shared).inner
    damaged = world.rng.choice(("", "{", '{"documents": 7}', "\x00" * 40))
    if isinstance(inner, MemoryStore):
        for key in inner._documents:
            inner._documents[key] = damaged
    elif isinstance(inner, FileStore) and inner._path.exists():
        inner._path.write_text(damaged)
    if world.condition.mood is None:
        world.condition.lost()
    return ""


def key_rotated(world: World) -> str:
    if not world.rules_of_life.vault:
        return "no vault"
    world.change_key()
    return ""


def vault_lies(world: World) -> str:
    world.vault_lies = not world.vault_lies
    world.vault_healthy_since = world.now()
    return str(world.vault_lies)


def vault_fails(world: World) -> str:
    world.vault_is_down = not world.vault_is_down
    world.vault_healthy_since = world.now()
    return str(world.vault_is_down)


FAULTS: Final[dict[str, tuple[int, Fault]]] = {
    "fault: next requests": (24, next_requests),
    "fault: outage": (6, outage),
    "fault: outage ends": (10, outage_ends),
    "fault: all tokens revoked": (8, revoked),
    "fault: connections dropped": (4, connections_dropped),
    "fault: connections refused": (4, connections_refused),
    "fault: wall clock stepped": (3, wall_clock_stepped),
    "fault: suspended": (3, suspended),
    "fault: store fails": (4, store_fails),
    "fault: store is back": (7, store_is_back),
    "fault: store forgets": (2, store_forgets),
    "fault: API key rotated": (2, key_rotated),
    "fault: vault lies": (2, vault_lies),
    "fault: vault fails": (2, vault_fails),
}
"""How often, and what."""


async def inflict(world: World, fault: Fault) -> str:
    """Do it, and say what was done."""
    done = fault(world)
    return await done if inspect.isawaitable(done) else done


async def heal(world: World) -> None:
    """Every fault ends."""
    outage_ends(world)
    world.sandbox.clear_faults()
    world.condition.mend()
    world.vault_lies = world.vault_is_down = False
    world.vault_healthy_since = world.now()
    if world.paused:
        await connections_refused(world)
    await world.sandbox.drop_connections()
