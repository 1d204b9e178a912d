"""The token endpoint fails: while a token is at hand that is due for its refresh, and when there is none."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import attrs

from ..adapters import adapter
from ..bench import HOUR, Answer, Bench, Cell
from ..farm import House
from ..peer import Peer

FAILURES = ("500", "refused", "hung")
DEADLINE = 5.0
CALLERS = 5
DUE_AFTER = 2.0
AZURE_JITTER = 60.0
BUDGET = 10 / 30


async def ask(bench: Bench) -> Answer:
    cells = [(name, held, failure) for name in bench.minting for held in (True, False) for failure in FAILURES]
    found = await asyncio.gather(*(_outage(bench, *cell) for cell in cells))
    seen = dict(zip(cells, found, strict=True))
    rows: dict[str, list[Cell]] = {}
    for name in bench.minting:
        held = [seen[name, True, failure] for failure in FAILURES]
        cold = [seen[name, False, failure] for failure in FAILURES]
        rows[name] = [
            " / ".join(f"{100 * one.fine // max(1, one.calls)} %" for one in held),
            " / ".join(f"{one.rate:.3g}" for one in held),
            " / ".join(f"{one.rate:.3g}" for one in cold),
            " / ".join(one.back for one in cold),
        ]
    return Answer(
        6,
        "The token endpoint fails (500 / refused / hung)",
        f"{CALLERS} callers ask once a second, each with a deadline of {DEADLINE:.0f} s, with the windows as they "
        "come and in real time, for "
        f"{bench.pick(60, 10)} s (less where a window is shorter). Held: a live token that is due for its "
        "refresh. Empty: none. "
        f"The server's budget is {BUDGET:.2g} mints a minute; refused ones never reach it. Recovery: seconds from "
        "the end of the "
        "outage to the first call that is served, with none held.",
        ["held: calls served", "held: attempts per minute", "empty: attempts per minute", "empty: recovery in s"],
        rows,
        {
            "held": {n: seen[n, True, "500"].rate for n in bench.minting},
            "empty": {n: seen[n, False, "500"].rate for n in bench.minting},
        },
    )


@attrs.define
class Seen:
    """What one peer did in one outage."""

    calls: int = 0
    fine: int = 0
    rate: float = 0.0
    back: str = "-"


async def _outage(bench: Bench, name: str, held: bool, failure: str) -> Seen:  # noqa: FBT001
    kind, seen = adapter(name), Seen()
    lifetime = HOUR
    if held and kind.window:
        lifetime = kind.window + (DUE_AFTER if name != "azure_core" else -AZURE_JITTER - 1)
    house = bench.farm.house(token_lifetime=lifetime)
    async with bench.peer(name, house, lifetime=lifetime) as peer:
        if held:
            await peer.authorization()
            await asyncio.sleep(DUE_AFTER + 1)
        _break(house, failure)
        before = _attempts(house, peer, failure)
        length = (
            min(float(bench.pick(60, 10)), kind.window - DUE_AFTER - 3) if held and kind.window else bench.pick(60, 10)
        )
        started = time.monotonic()
        await asyncio.gather(*(_caller(peer, seen, started + length, n / CALLERS) for n in range(CALLERS)))
        seen.rate = (_attempts(house, peer, failure) - before) * 60 / length
        _mend(house, failure)
        if not held:
            seen.back = await _recovery(peer, bench.pick(90, 10))
    house.tell("close")
    return seen


def _break(house: House, failure: str) -> None:
    faults: dict[str, dict[str, Any]] = {"500": {"status": 500}, "hung": {"delay": float("inf")}}
    if failure == "refused":
        house.tell("pause")
    else:
        house.tell("outage", endpoint="token", fault=faults[failure])


def _mend(house: House, failure: str) -> None:
    if failure == "refused":
        house.tell("resume")
    else:
        house.tell("end_outage", endpoint="token")


def _attempts(house: House, peer: Peer, failure: str) -> int:
    return peer.attempts if failure == "refused" else int(house.tell("stats")["token_requests"])


async def _served(peer: Peer) -> bool:
    try:
        async with asyncio.timeout(DEADLINE):
            await peer.authorization()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return False  # somebody else was cancelled, and a peer lets everybody feel it
    except Exception:  # whatever a peer raises is a failed call
        return False
    return True


async def _caller(peer: Peer, seen: Seen, until: float, offset: float) -> None:
    await asyncio.sleep(offset)
    while time.monotonic() < until:
        begun = time.monotonic()
        seen.fine += await _served(peer)
        seen.calls += 1
        await asyncio.sleep(max(0.0, begun + 1 - time.monotonic()))


async def _recovery(peer: Peer, most: float) -> str:
    started = time.monotonic()
    while not await _served(peer):
        if time.monotonic() - started > most:
            return f"> {most:.0f}"
        await asyncio.sleep(0.2)
    return f"{time.monotonic() - started:.1f}"
