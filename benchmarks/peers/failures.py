"""Let the token endpoint fail, and the API refuse tokens and redirect (questions 6, 7 and 8)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import attrs

from ..sandboxes import RemoteSandbox, call_record
from .adapters import adapter
from .comparison import HOUR, Cell, Comparison, Table
from .peer import Peer

FAILURES = ("500", "refused", "hung")
DEADLINE = 5.0
CALLERS = 5
DUE_AFTER = 2.0
AZURE_JITTER = 60.0
BUDGET_PER_MINUTE = 10 / 30
SETTLED_AFTER = 31.0


@attrs.define
class _Outcome:
    """What one peer did in one outage."""

    calls: int = 0
    served: int = 0
    attempts_per_minute: float = 0.0
    recovery: str = "-"


async def failing_endpoint(comparison: Comparison) -> Table:
    """Let the token endpoint fail, with a token that is due for its refresh and without a token."""
    names = comparison.refreshing
    cases = [(name, held, failure) for name in names for held in (True, False) for failure in FAILURES]
    results = await asyncio.gather(*(_outage(comparison, *case) for case in cases))
    outcomes = dict(zip(cases, results, strict=True))
    rows: dict[str, list[Cell]] = {}
    for name in names:
        held = [outcomes[name, True, failure] for failure in FAILURES]
        empty = [outcomes[name, False, failure] for failure in FAILURES]
        rows[name] = [
            " / ".join(f"{100 * outcome.served // max(1, outcome.calls)} %" for outcome in held),
            " / ".join(f"{outcome.attempts_per_minute:.3g}" for outcome in held),
            " / ".join(f"{outcome.attempts_per_minute:.3g}" for outcome in empty),
            " / ".join(outcome.recovery for outcome in empty),
        ]
    return Table(
        6,
        "The token endpoint fails (500 / refused / hung)",
        f"{CALLERS} callers ask once a second, each with a deadline of {DEADLINE:.0f} s, with the default windows and "
        f"in real time, for {comparison.pick(60, 10)} s (less where a window is shorter). Held: a valid token that is "
        f"due for its refresh. Empty: no token. The server's budget is {BUDGET_PER_MINUTE:.2g} mints a minute; refused "
        "connections do not reach it. Recovery: seconds from the end of the outage to the first call that is served, "
        "without a token.",
        ["held: calls served", "held: attempts per minute", "empty: attempts per minute", "empty: recovery in s"],
        rows,
        {
            "held": {name: outcomes[name, True, "500"].attempts_per_minute for name in names},
            "empty": {name: outcomes[name, False, "500"].attempts_per_minute for name in names},
        },
    )


async def _outage(comparison: Comparison, name: str, held: bool, failure: str) -> _Outcome:  # noqa: FBT001
    kind, outcome = adapter(name), _Outcome()
    lifetime, seconds = HOUR, float(comparison.pick(60, 10))
    if held and kind.window:
        lifetime = kind.window + (DUE_AFTER if name != "azure_core" else -AZURE_JITTER - 1)
        seconds = min(seconds, kind.window - DUE_AFTER - 3)
    sandbox = comparison.sandbox(token_lifetime=lifetime)
    async with comparison.peer(name, sandbox, lifetime=lifetime) as peer:
        if held:
            await peer.authorization()
            await asyncio.sleep(DUE_AFTER + 1)
        _start_outage(sandbox, failure)
        before = _attempts(sandbox, peer, failure)
        started = time.monotonic()
        await asyncio.gather(*(_caller(peer, outcome, started + seconds, n / CALLERS) for n in range(CALLERS)))
        outcome.attempts_per_minute = (_attempts(sandbox, peer, failure) - before) * 60 / seconds
        _end_outage(sandbox, failure)
        if not held:
            outcome.recovery = await _recovery(peer, comparison.pick(90, 10))
    sandbox.send("close")
    return outcome


def _start_outage(sandbox: RemoteSandbox, failure: str) -> None:
    faults: dict[str, dict[str, Any]] = {"500": {"status": 500}, "hung": {"delay": float("inf")}}
    if failure == "refused":
        sandbox.send("pause")
    else:
        sandbox.send("outage", endpoint="token", fault=faults[failure])


def _end_outage(sandbox: RemoteSandbox, failure: str) -> None:
    if failure == "refused":
        sandbox.send("resume")
    else:
        sandbox.send("end_outage", endpoint="token")


def _attempts(sandbox: RemoteSandbox, peer: Peer, failure: str) -> int:
    return peer.attempts if failure == "refused" else int(sandbox.send("stats")["token_requests"])


async def _is_served(peer: Peer) -> bool:
    try:
        async with asyncio.timeout(DEADLINE):
            await peer.authorization()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return False  # another waiter was cancelled, and the peer passes that on to all
    except Exception:  # each library raises its own errors, and each one is a failed call
        return False
    return True


async def _caller(peer: Peer, outcome: _Outcome, until: float, offset: float) -> None:
    await asyncio.sleep(offset)
    while time.monotonic() < until:
        started = time.monotonic()
        outcome.served += await _is_served(peer)
        outcome.calls += 1
        await asyncio.sleep(max(0.0, started + 1 - time.monotonic()))


async def _recovery(peer: Peer, limit: float) -> str:
    started = time.monotonic()
    while not await _is_served(peer):
        if time.monotonic() - started > limit:
            return f"> {limit:.0f}"
        await asyncio.sleep(0.2)
    return f"{time.monotonic() - started:.1f}"


async def rejected_tokens(comparison: Comparison) -> Table:
    """Let the API refuse every token, or the current one once."""
    names = comparison.refreshing
    rows = await asyncio.gather(*(_rejections(comparison, name) for name in names))
    return Table(
        7,
        "The API refuses tokens with 401",
        f"{CALLERS} callers POST once a second in real time. Always: every token is refused, for "
        f"{comparison.pick(40, 10)} s; a new one does not help. Once: all tokens are revoked {SETTLED_AFTER:.0f} s "
        "after the mint, and a new one helps; calls in the 10 s from then on.",
        ["always: mints per minute", "once: mints", "once: calls that failed", "recovers?"],
        dict(zip(names, rows, strict=True)),
    )


async def _rejections(comparison: Comparison, name: str) -> list[Cell]:
    always, once = await asyncio.gather(_reject_always(comparison, name), _reject_once(comparison, name))
    return [always, *once]


async def _reject_always(comparison: Comparison, name: str) -> float:
    seconds = comparison.pick(40, 10)
    sandbox = comparison.sandbox()
    async with comparison.peer(name, sandbox) as peer:
        await peer.authorization()
        sandbox.send("outage", endpoint="api", fault={"status": 401})
        before = sandbox.mints
        await _post_for(peer, seconds)
        return (sandbox.mints - before) * 60 / seconds


async def _reject_once(comparison: Comparison, name: str) -> list[Cell]:
    sandbox = comparison.sandbox()
    async with comparison.peer(name, sandbox) as peer:
        assert await peer.post(peer.target.record_url, call_record()) == 200  # noqa: S101
        await asyncio.sleep(SETTLED_AFTER)
        sandbox.send("revoke")
        statuses = await _post_for(peer, 10)
    failed = sum(status != 200 for status in statuses)
    return [sandbox.mints - 1, f"{failed} of {len(statuses)}", "yes" if statuses[-1] == 200 else "no"]


async def _post_for(peer: Peer, seconds: float) -> list[int]:
    """Post once a second from each caller and return the statuses, 0 for an error."""
    until, record = time.monotonic() + seconds, call_record()
    statuses: list[int] = []

    async def caller(offset: float) -> None:
        await asyncio.sleep(offset)
        while time.monotonic() < until:
            try:
                statuses.append(await peer.post(peer.target.record_url, record))
            except Exception:  # each library raises its own errors, and each one is a failed call
                statuses.append(0)
            await asyncio.sleep(1)

    await asyncio.gather(*(caller(n / CALLERS) for n in range(CALLERS)))
    return statuses


async def redirect(comparison: Comparison) -> Table:
    """Let the API redirect to another origin."""
    rows: dict[str, list[Cell]] = {}
    for name in comparison.names:
        origin, other_origin = comparison.sandbox(), comparison.sandbox()
        location = comparison.target(other_origin).record_url.replace("127.0.0.1", "localhost")
        async with comparison.peer(name, origin) as peer:
            await peer.authorization()
            origin.send("fail_next", endpoint="api", fault={"status": 307, "headers": {"Location": location}})
            await peer.post(peer.target.record_url, call_record())
        stats = other_origin.send("stats")
        rows[name] = ["yes" if stats["with_header"] else "no", "yes" if sum(stats["statuses"].values()) else "no"]
    return Table(
        8,
        "A redirect to another origin: does the token travel?",
        "A 307 from the API to another host name and port. The bearer token must not get there.",
        ["does the header travel?", "is the redirect followed?"],
        rows,
    )
