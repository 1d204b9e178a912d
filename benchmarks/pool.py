"""Push records with pools of 1, 2, 4 and 7 tokens to a sandbox with the real limits, whose clock runs faster.

    python benchmarks/pool.py [RECORDS [SPEED]]     # a million and 20 by default; about four minutes

The arithmetic: a token is worth 60 batches of 500 records in a minute. A last run has a server where each new token
ends the one before. With 7 tokens and 20 times the speed, the machine is the limit: take 2.
"""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from truecaller_vbc import APIPolicy, Credentials, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox, SandboxRules

SPEED: Final = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
BATCH: Final = 500
A_MINUTE: Final = 60
IN_FLIGHT: Final = 4
FIRST: Final = 7_000_010_000


async def serve(*, revoking: bool) -> None:
    """Run a sandbox until standard input ends, and print what it has accepted."""
    rules = SandboxRules(revoke_previous=revoking)
    async with Sandbox(rules, clock=lambda: time.monotonic() * SPEED) as sandbox:
        key = sandbox.credentials
        print(json.dumps([sandbox.base_url, key.client_account_id, key.key_id, str(key.api_key)]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        counts = sandbox.accepted.values()
        print(json.dumps([sandbox.mints, len(sandbox.accepted), max(counts, default=0)]), flush=True)


@attrs.frozen
class Result:
    """What a push took and what came of it."""

    seconds: float
    outcomes: Counter[str]
    mints: int
    accepted: int
    most: int


def records(count: int) -> Iterator[dict[str, Any]]:
    """Yield records for different receivers, whose endings the sandbox delivers."""
    now = int(time.time() * 1000)
    common = {
        "caller_number": "+911234567890",
        "starts_at": now,
        "ends_at": now + 86_400_000,
        "label_id": "c6d86658-008d-4c08-98fb-2bf2649d59a5",
    }
    for number in range(count):
        yield common | {"receiver_number": f"+91{FIRST + number * 10}"}


async def push(count: int, tokens: int, *, revoking: bool = False) -> Result:
    """Push the records with a pool of this size."""
    child = subprocess.Popen(  # noqa: ASYNC220, S603 - it runs beside the push
        [sys.executable, __file__, "--serve", str(SPEED), str(int(revoking))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert child.stdin is not None  # noqa: S101
    assert child.stdout is not None  # noqa: S101
    base_url, *credentials = json.loads(child.stdout.readline())
    outcomes: Counter[str] = Counter()
    policy = attrs.evolve(TokenPolicy(tokens=tokens).scaled(1 / SPEED), rejection_grace=0)
    async with VBCSession(
        Credentials(*credentials), base_url=base_url, policy=policy, api_policy=APIPolicy().scaled(1 / SPEED)
    ) as vbc:
        await vbc.token()
        started = time.perf_counter()
        async for result in vbc.calls.push_all(records(count), in_flight=IN_FLIGHT):
            outcomes[result.outcome] += len(result.chunk.records)
        seconds = time.perf_counter() - started
    child.stdin.close()
    mints, accepted, most = json.loads(child.stdout.readline())
    child.wait()
    return Result(seconds, outcomes, mints, accepted, most)


def arithmetic(count: int, tokens: int) -> float:
    """Return the seconds that the rates need at the least: the first minute's worth leaves at once."""
    minutes = math.ceil(count / BATCH / (A_MINUTE * tokens)) - 1
    return minutes * A_MINUTE / SPEED


async def main(count: int) -> None:
    """Print a table."""
    print("| tokens | seconds | arithmetic | ratio | mints | acknowledged | accepted | most for one receiver |")
    print("|---|---|---|---|---|---|---|---|")
    for tokens, revoking in ((1, False), (2, False), (4, False), (7, False), (4, True)):
        it = await push(count, tokens, revoking=revoking)
        least = arithmetic(count, 1 if revoking else tokens)
        name = f"{tokens}{', each ends the one before' if revoking else ''}"
        ratio = it.seconds / least if least else math.nan
        print(
            f"| {name} | {it.seconds:.1f} | {least:.1f} | {ratio:.2f} | {it.mints} | {it.outcomes['acknowledged']:,} | "
            f"{it.accepted:,} | {it.most} |",
            flush=True,
        )


if __name__ == "__main__":
    if "--serve" in sys.argv:
        asyncio.run(serve(revoking=sys.argv[-1] == "1"))
    else:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
