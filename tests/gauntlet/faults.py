"""Faults of the simulation by name. Each changes a simulation, and `heal` ends all of them."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from truecaller_vbc import FileStore, MemoryStore
from truecaller_vbc.sandbox.faults import Endpoint, FaultOptions

from .expected_failures import LEASE, TIMEOUT
from .faulty_store import STORE_FAULTS, documents_in, replace_document
from .forks import fork
from .poison import poisoned

if TYPE_CHECKING:
    from .simulation import Simulation

Fault: TypeAlias = "Callable[[Simulation], Awaitable[str] | str]"

_ABOUT_A_DAY: Final = 80_000.0
_ENDPOINTS: Final[tuple[Endpoint, ...]] = ("token", "token", "api", "*")


def _some_seconds(simulation: Simulation) -> float:
    return simulation.rng.choice((0.5, 2.0, 9.0, 14.0, 16.0, 40.0))


def _answers(simulation: Simulation) -> dict[str, FaultOptions]:
    """Return one wrong answer of each kind, in the form that `fail_next` and `set_outage` take."""
    soon = simulation.sandbox._clock.wall(simulation.sandbox._clock.elapsed() + 90)
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
        "5xx": {"status": simulation.rng.choice((500, 502, 503, 504))},
        "5xx with Retry-After": {
            "status": 503,
            "headers": {"Retry-After": simulation.rng.choice(("7", "120", "999999", "x"))},
        },
        "429": {"status": 429},
        "429 with Retry-After": {
            "status": 429,
            "headers": {"Retry-After": simulation.rng.choice(("1", "30", "600", "nan"))},
        },
        "429 with a date": {
            "status": 429,
            "headers": {"Retry-After": format_datetime(soon, usegmt=True), "Date": simulation.sandbox._clock.date()},
        },
        "4xx that speaks of a limit": {"status": 400, "body": {"slug": "x", "message": "maximum number of tokens"}},
        "refused credentials": {"status": simulation.rng.choice((400, 401, 403, 404))},
        "another 4xx": {"status": simulation.rng.choice((405, 409, 415, 422))},
        "redirect": {"status": simulation.rng.choice((301, 302, 307)), "headers": {"Location": "http://127.0.0.1:9/"}},
        "garbage": {"status": 200, "body": simulation.rng.choice(garbage)},
        "garbage after a mint": {"status": 200, "body": simulation.rng.choice(garbage), "mint": True},
        "dropped before": {"drop": "before"},
        "dropped after": {"drop": "after"},
        "dropped in the body": {"drop": "mid"},
        "latency": {"delay": _some_seconds(simulation)},
        "hangs": {"delay": float("inf")},
        "trickles": {"slow": _some_seconds(simulation)},
    }


def _on_the_wire(simulation: Simulation, outage: bool) -> str:
    kinds = _answers(simulation)
    kind = simulation.rng.choice(list(kinds))
    endpoint: Endpoint = simulation.rng.choice(_ENDPOINTS)
    if endpoint != "token" and kind.startswith(("429", "4xx", "another 4xx", "redirect", "refused")):
        endpoint = "token"
    if simulation.pools.tokens > 1 and kind.startswith("garbage"):
        endpoint = "token"  # an API that accepts every token proves that a pool works
    if outage:
        simulation.sandbox.set_outage(endpoint, **kinds[kind])
    else:
        simulation.sandbox.fail_next(endpoint, times=simulation.rng.choice((1, 1, 2, 5)), **kinds[kind])
    label = f"fault {'outage: ' if outage else ''}{kind}"
    simulation.count(label)
    return f"{endpoint} {kind}"


def next_requests(simulation: Simulation) -> str:
    return _on_the_wire(simulation, outage=False)


def outage(simulation: Simulation) -> str:
    return _on_the_wire(simulation, outage=True)


def owner_frozen(simulation: Simulation) -> str:
    """Freeze the next session that comes to a certain point, or any of them at once."""
    return simulation.freezer.arm()


def forked(simulation: Simulation) -> str:
    """Fork, and let the child use what it has inherited."""
    if (wrong := fork(simulation)) is not None:
        simulation.checker.child_did(wrong)
    return ""


def late_answer(simulation: Simulation) -> str:
    """Make the server answer after callers have stopped waiting, but before the lease ends."""
    seconds = simulation.rng.uniform(TIMEOUT + 0.1, LEASE - 1.0 - simulation.settings.sandbox.token_latency)
    if simulation.rng.random() < 0.7:
        simulation.sandbox.fail_next("token", times=simulation.rng.choice((1, 1, 2)), delay=seconds)
    else:
        simulation.sandbox.set_outage("token", delay=seconds)
    return f"{seconds:.1f}"


def outage_ends(simulation: Simulation) -> str:
    for name in _ENDPOINTS:
        simulation.sandbox.end_outage(name)
    return ""


def revoked(simulation: Simulation) -> str:
    simulation.revoke_all()
    return ""


async def connections_dropped(simulation: Simulation) -> str:
    if not simulation.paused:
        await simulation.sandbox.drop_connections()
    return ""


async def connections_refused(simulation: Simulation) -> str:
    if simulation.paused:
        await simulation.sandbox.resume_listening()
    else:
        await simulation.sandbox.pause_listening()
    simulation.paused = not simulation.paused
    return "paused" if simulation.paused else "resumed"


def wall_clock_stepped(simulation: Simulation) -> str:
    by = simulation.rng.choice((-86_400.0, -3_600.0, -90.0, -1.0, 1.0, 90.0, 3_600.0, 86_400.0))
    simulation.clock.step(by)
    simulation.site.stepped_a_day |= abs(simulation.clock.stepped) > _ABOUT_A_DAY
    if simulation.settings.store_clock:
        return f"{by:g}, which the store does not mind"
    simulation.site.stepped_at = simulation.now()
    if by < 0:
        simulation.site.stepped_back_until = max(simulation.site.stepped_back_until, simulation.now()) - by
    return f"{by:g}"


async def suspended(simulation: Simulation) -> str:
    seconds = simulation.rng.choice((5.0, 300.0, 1_900.0, 3_700.0, 40_000.0))
    simulation.site.suspensions.append((simulation.now(), seconds))
    simulation.clock.suspend(seconds)
    simulation.site.suspended_at, simulation.site.suspended_for = simulation.loop.time(), seconds
    await asyncio.sleep(1.01)  # the fast path of readers reads no clock for up to a second
    return f"{seconds:g}"


def store_fails(simulation: Simulation) -> str:
    fault = simulation.rng.choice(STORE_FAULTS)
    simulation.condition.fail(fault)
    label = f"fault store {fault}"
    simulation.count(label)
    return fault


def store_is_back(simulation: Simulation) -> str:
    simulation.condition.mend()
    return ""


def store_forgets(simulation: Simulation) -> str:
    """Empty the store like a restarted Redis, or damage its file."""
    inner = simulation.site.store.inner
    damaged = simulation.rng.choice(("", "{", '{"documents": 7}', "\x00" * 40))
    if isinstance(inner, MemoryStore):
        for key in inner._documents:
            inner._documents[key] = damaged
    elif isinstance(inner, FileStore) and inner._path.exists():
        inner._path.write_text(damaged)
    if simulation.condition.fault is None:
        simulation.condition.lost()
    return ""


def document_poisoned(simulation: Simulation) -> str:
    """Put values that cannot be true into a stored document."""
    session = simulation.rng.choice(simulation.sessions)
    store, shift = session.store, session.vbc._holder._minter._exchange._clock.shift
    # The time of the document, which is that of wall clocks unless one was set.
    at = session.machine.wall() if shift is None else simulation.now() + shift
    said = "nothing stored"
    for key, text in documents_in(store).items():
        try:
            document = json.loads(text)
        except ValueError:
            continue
        said, stamps = poisoned(document, simulation.rng, at)
        replace_document(store, key, json.dumps(document))
        simulation.site.poisoned(stamp - at + simulation.now() for stamp in stamps)
        if simulation.condition.fault is None:
            simulation.condition.lost()
    return said


def key_rotated(simulation: Simulation) -> str:
    if not simulation.settings.vault:
        return "no vault"
    simulation.change_key()
    return ""


def vault_gives_wrong_key(simulation: Simulation) -> str:
    simulation.vault_gives_wrong_key = not simulation.vault_gives_wrong_key
    simulation.vault_healthy_since = simulation.now()
    return str(simulation.vault_gives_wrong_key)


def vault_fails(simulation: Simulation) -> str:
    simulation.vault_is_down = not simulation.vault_is_down
    simulation.vault_healthy_since = simulation.now()
    return str(simulation.vault_is_down)


FAULTS: Final[dict[str, tuple[int, Fault]]] = {
    "fault: next requests": (24, next_requests),
    "fault: outage": (6, outage),
    "fault: owner frozen": (6, owner_frozen),
    "fault: forked": (2, forked),
    "fault: late answer": (5, late_answer),
    "fault: outage ends": (10, outage_ends),
    "fault: all tokens revoked": (8, revoked),
    "fault: connections dropped": (4, connections_dropped),
    "fault: connections refused": (4, connections_refused),
    "fault: wall clock stepped": (3, wall_clock_stepped),
    "fault: suspended": (3, suspended),
    "fault: store fails": (4, store_fails),
    "fault: store is back": (7, store_is_back),
    "fault: store forgets": (2, store_forgets),
    "fault: document poisoned": (4, document_poisoned),
    "fault: API key rotated": (2, key_rotated),
    "fault: vault lies": (2, vault_gives_wrong_key),
    "fault: vault fails": (2, vault_fails),
}
"""Weight and function of each fault."""


async def inflict(simulation: Simulation, fault: Fault) -> str:
    """Apply a fault, and return what it did."""
    done = fault(simulation)
    return await done if inspect.isawaitable(done) else done


async def heal(simulation: Simulation) -> None:
    """End every fault."""
    simulation.freezer.thaw_all()
    outage_ends(simulation)
    simulation.sandbox.clear_faults()
    simulation.condition.mend()
    simulation.vault_gives_wrong_key = simulation.vault_is_down = False
    simulation.vault_healthy_since = simulation.now()
    if simulation.paused:
        await connections_refused(simulation)
    await simulation.sandbox.drop_connections()
