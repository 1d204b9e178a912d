"""Time a receiver of webhooks beside bare aiohttp.web, and kill receivers in the middle of their work.

    python benchmarks/run.py webhooks           # events per second, beside a handler that parses JSON
    python benchmarks/webhooks.py 10000         # that many events, three times kill -9, at each place

Receivers run in processes of their own. The sender repeats what was not answered with 200, in another order, and sends
each event twice after it was delivered; a tenth of the handlers fail.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs
from aiohttp import web

from benchmarks.rounds import Effort, Row, row_of_pairs, run_pairs
from truecaller_vbc.sandbox import WebhookRules, send_webhooks, webhook_event
from truecaller_vbc.webhooks import Event, Receiver, RedisClaims

KEY: Final = "key-of-the-benchmark"
CONNECTIONS: Final = 32
LEASE: Final = 2.0
KILLS: Final = 3


# The process of a receiver


def serve(port: int, seen: str, mode: Any, effects: str) -> None:
    """Serve a receiver at ``/hook``, and at ``/bare`` a handler that only parses JSON."""
    handlers = {"none": _nothing, "atomic": _committed, "plain": _appended}
    receiver = Receiver(key=KEY, seen=seen, mode=mode, lease=LEASE)
    receiver.on(Event)(handlers[effects](receiver, seen))

    async def bare(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response({"status": "done"})

    async def cpu(_: web.Request) -> web.Response:
        return web.json_response(time.process_time())

    async def opened(_: web.Application) -> AsyncIterator[None]:
        async with receiver:
            yield

    app = web.Application()
    app.router.add_post("/hook", receiver.aiohttp)
    app.router.add_post("/bare", bare)
    app.router.add_get("/cpu", cpu)
    app.cleanup_ctx.append(opened)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, reuse_address=True)


def _nothing(_: Receiver, __: str) -> Any:
    async def handle(_: Event) -> None:
        pass

    return handle


async def _fail_sometimes() -> None:
    await asyncio.sleep(random.random() * 0.004)
    if random.random() < 0.1:
        raise RuntimeError("a handler that fails")


def _committed(receiver: Receiver, seen: str) -> Any:
    """Return a handler whose effect is committed with its claim."""

    async def handle(event: Event) -> None:
        await _fail_sometimes()
        if seen.startswith("redis"):
            await receiver.commit(event, lambda pipe: pipe.rpush(_effects_key(), event.event_id))
        else:
            await receiver.commit(event, lambda db: db.execute("INSERT INTO effects VALUES (?)", (event.event_id,)))

    return handle


def _appended(_: Receiver, __: str) -> Any:
    """Return a handler whose effect is a line in a file, which no transaction holds."""
    log = os.open("effects.log", os.O_WRONLY | os.O_APPEND)

    async def handle(event: Event) -> None:
        await _fail_sometimes()
        os.write(log, f"{event.event_id}\n".encode())
        await asyncio.sleep(random.random() * 0.004)

    return handle


def _effects_key() -> str:
    return "{truecaller_vbc:webhooks}:effects"


@contextmanager
def receiver_process(*arguments: str, cwd: str | Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run `serve` in another process."""
    command = [sys.executable, "-m", "benchmarks.webhooks", "--serve", *arguments]
    root = str(Path(__file__).parents[1])
    environment = {"PYTHONPATH": root, "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _open(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(30):
        while True:
            with suppress(ConnectionError):
                return await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.02)


# Speed


@attrs.frozen
class Speed:
    """Events per second, the 99th percentile in ms, and the receiver's CPU time of one event in microseconds."""

    rate: float
    p99: float
    cpu: float


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head, head  # noqa: S101
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


def _call_me_back() -> bytes:
    """Return the body of an event whose numbers and times differ from those of the others, as in life."""
    now, slot = int(time.time()), random.randrange(96) * 1800
    payload = {
        "client_number": f"91{random.randrange(10**9, 10**10)}",
        "requested_at": str(now - random.randrange(600)),
        "preferred_from_time": str(now - now % 1800 + slot),
        "preferred_to_time": str(now - now % 1800 + slot + 1800),
    }
    return json.dumps(webhook_event("cmb", payload)).encode()


async def _speed(port: int, path: str, events: int) -> Speed:
    bodies = [_call_me_back() for _ in range(events)]
    requests = iter(
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (path.encode(), len(body), body)
        for body in bodies
    )
    times: list[float] = []

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for request in requests:
            started = time.perf_counter()
            await _exchange(reader, writer, request)
            times.append(time.perf_counter() - started)
        writer.close()

    get_cpu = b"GET /cpu HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await _open(port)
    connections = [await _open(port) for _ in range(CONNECTIONS)]
    cpu = -float(await _exchange(reader, writer, get_cpu))
    started = time.perf_counter()
    await asyncio.gather(*(work(*connection) for connection in connections))
    rate = events / (time.perf_counter() - started)
    cpu += float(await _exchange(reader, writer, get_cpu))
    writer.close()
    return Speed(rate, sorted(times)[events * 99 // 100] * 1e3, cpu / events * 1e6)


async def webhooks(effort: Effort) -> list[Row]:
    """Compare a receiver at each place with a bare handler in the same process."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, _redis() as redis:
        places = {"memory": "memory://", "file": f"file://{folder}/claims.db", "Redis": redis}
        for number, (name, seen) in enumerate(places.items()):
            port = 18_800 + number
            events = int((1000 if name == "memory" else 200) * max(effort.scale, 0.5))
            with receiver_process(str(port), seen, "run", "none"):
                pairs = await run_pairs(
                    lambda port=port, events=events: _speed(port, f"/hook?key={KEY}", events),  # type: ignore[misc]
                    lambda port=port, events=events: _speed(port, "/bare", events),  # type: ignore[misc]
                    4 * effort.rounds,  # short ones, since the load of other programs comes and goes
                )
            target = 0.7 if name == "memory" else 0.0
            for what, unit in (("rate", "/s"), ("p99", "ms"), ("cpu", "us of CPU")):
                both = [(getattr(ours, what), getattr(bare, what)) for ours, bare in pairs]
                label = f"webhooks, claims in {name}, beside parsing JSON in aiohttp.web: {what}"
                if what == "rate":
                    rows.append(row_of_pairs(label, unit, both, target=target, at_least=True))
                else:
                    rows.append(row_of_pairs(label, unit, both, target=1 / 0.7 if name == "memory" else float("inf")))
    return rows


@contextmanager
def _redis() -> Iterator[str]:
    from tests.redis_server import redis_url  # noqa: PLC0415 - the tests know how to find or start a server

    with redis_url() as url:
        yield url


# Crashes


@attrs.frozen
class Outcome:
    """What became of the events of one run.

    Attributes:
        once: how many had their effect exactly once.
        repeated: how many had it more than once.
        lost: how many never had it.
        kills: how many receivers were killed.
        seconds: how long it took.
    """

    events: int
    once: int
    repeated: int
    lost: int
    kills: int
    seconds: float


async def crashes(
    kind: str, mode: str, effects: str, events: int, *, redis: str = "", free_ports: tuple[int, int] = (18_810, 18_811)
) -> Outcome:
    """Send events to one receiver with a file, or to two with Redis; kill receivers three times, and count effects."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seen = redis if kind == "redis" else f"file://{folder}/claims.db"
        ports = [*free_ports] if kind == "redis" else [free_ports[0]]
        await _prepare(seen, folder)
        made = [webhook_event() for _ in range(events)]
        async with _fleet(ports, seen, mode, effects, folder) as fleet:
            sending = [
                asyncio.create_task(_send(port, [*made[number :: len(ports)], *random.sample(made, events // 5)]))
                for number, port in enumerate(ports)
            ]
            for number in range(KILLS):
                await _until_handled(seen, folder, effects, events * (number + 1) // (KILLS + 1))
                await fleet.kill(number % len(ports))
            await asyncio.gather(*sending)
            await _until_handled(seen, folder, effects, events)
            await asyncio.sleep(2 * LEASE if mode == "store_then_run" else 0)
        counts = Counter(await _effects(seen, folder, effects))
    once = sum(counts[event["event_id"]] == 1 for event in made)
    lost = sum(counts[event["event_id"]] == 0 for event in made)
    return Outcome(events, once, events - once - lost, lost, KILLS, time.perf_counter() - started)


class _Fleet:
    def __init__(self, ports: list[int], *arguments: str, cwd: Path) -> None:
        self._arguments = arguments
        self._cwd = cwd
        self._contexts: list[Any] = [None for _ in ports]
        self._ports = ports

    async def start(self, number: int) -> None:
        self._contexts[number] = receiver_process(str(self._ports[number]), *self._arguments, cwd=self._cwd)
        self._contexts[number].__enter__()
        (await _open(self._ports[number]))[1].close()

    async def kill(self, number: int) -> None:
        self._contexts[number].__exit__(None, None, None)  # kill -9
        await self.start(number)

    def stop(self) -> None:
        for context in self._contexts:
            context.__exit__(None, None, None)


@asynccontextmanager
async def _fleet(ports: list[int], seen: str, mode: str, effects: str, folder: Path) -> AsyncIterator[_Fleet]:
    fleet = _Fleet(ports, seen, mode, effects, cwd=folder)
    for number in range(len(ports)):
        await fleet.start(number)
    try:
        yield fleet
    finally:
        fleet.stop()


async def _send(port: int, events: list[dict[str, Any]]) -> None:
    rules = WebhookRules(retries=(0.2, 0.5, *[1.0] * 60), duplicates=1, reorder=True, concurrency=CONNECTIONS)
    deliveries = await send_webhooks(f"http://127.0.0.1:{port}/hook?key={KEY}", events, rules)
    assert {delivery.state for delivery in deliveries} == {"delivered"}  # noqa: S101


async def _prepare(seen: str, folder: Path) -> None:
    (folder / "effects.log").touch()
    if seen.startswith("redis"):
        claims = RedisClaims(seen)
        await claims._connected().flushdb()  # noqa: SLF001
        await claims.close()
        return
    (folder / "claims.db").touch(0o600)
    with sqlite3.connect(folder / "claims.db") as db:
        db.execute("CREATE TABLE effects (event_id TEXT)")
    db.close()


async def _effects(seen: str, folder: Path, effects: str) -> list[str]:
    if effects == "plain":
        return (folder / "effects.log").read_text().split()
    if seen.startswith("redis"):
        claims = RedisClaims(seen)
        found: list[bytes] = await claims._connected().lrange(_effects_key(), 0, -1)  # noqa: SLF001
        await claims.close()
        return [event_id.decode() for event_id in found]
    with sqlite3.connect(folder / "claims.db", timeout=30) as db:
        rows = [event_id for (event_id,) in db.execute("SELECT event_id FROM effects")]
    db.close()
    return rows


async def _until_handled(seen: str, folder: Path, effects: str, events: int) -> None:
    async with asyncio.timeout(1800):
        while len(set(await _effects(seen, folder, effects))) < events:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05 if events < 1000 else 0.3)


async def main(events: int) -> None:
    """Print a row for each place, mode and kind of effect."""
    print("| place | mode | effect | events | once | repeated | lost | kills | seconds |")
    print("|" + "---|" * 9)
    with _redis() as redis:
        for kind in ("file", "redis"):
            for mode in ("run", "store_then_run"):
                for effects in ("atomic", "plain"):
                    it = await crashes(kind, mode, effects, events, redis=redis)
                    cells = (it.events, it.once, it.repeated, it.lost, it.kills, round(it.seconds))
                    print(f"| {kind} | {mode} | {effects} | {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", nargs="?", type=int, default=10_000)
    parser.add_argument("--serve", nargs=4, metavar=("PORT", "SEEN", "MODE", "EFFECTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(int(options.serve[0]), *options.serve[1:])
    else:
        asyncio.run(main(options.events))
