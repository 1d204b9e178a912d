"""Push a million records at the documented rates with pools of 1, 2, 4 and 7 tokens, on a clock that runs faster.

    python benchmarks/pool.py [--records N] [--scale X] [TOKENS ...]

The sandbox runs in a process of its own with the real limits: 60 batches a minute for each token, 10 tokens in 30
minutes, one hour of life. Its clock, and all durations of the pushing process, run `scale` times 7 / TOKENS faster.
With ``--disturbed`` the pushing process is killed (SIGKILL) three times, and all tokens are revoked once, halfway.

The output compares the time from the first batch to the last on the sandbox's clock with the arithmetic (batches / 60 /
tokens, in minutes), the mints with the plan, and each record of the results with what the sandbox received. `overall`
has also the start of the processes and the check of the list, which take real time, multiplied by the scale.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.million import batches_begun, compare, counted, print_environment, sandbox_process, write_records
from truecaller_vbc.cli.calls.push import PushOptions, push
from truecaller_vbc.cli.connection import Connection
from truecaller_vbc.sandbox import Sandbox

_BATCH_SIZE: Final = 500
_RATE: Final = 60
_KILLS: Final = 3
_LARGEST: Final = 7
_WINDOW: Final = 30.0
_POLL_INTERVAL: Final = 0.02


def main() -> int:
    """Run the pushes; with an internal option, run the sandbox or one push instead."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", nargs="*", type=int, default=[1, 2, 4, 7], metavar="TOKENS")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--scale", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--disturbed", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--push", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        return asyncio.run(_serve(options.serve, options.scale))
    if options.push is not None:
        return _push_once(options.push, options.tokens[0], options.scale)
    random.seed(options.seed)
    rows = [_measure(tokens, options) for tokens in options.tokens]
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")
    return 0 if all(row["ok"] and row["mints"] <= row["planned_mints"] for row in rows) else 1


def _measure(tokens: int, options: argparse.Namespace) -> dict[str, Any]:
    """Push all records with a pool of this size, and return the figures."""
    scale = options.scale * _LARGEST / tokens
    batches = -(-options.records // _BATCH_SIZE)
    with (
        tempfile.TemporaryDirectory() as directory,
        sandbox_process(__file__, Path(directory), "--scale", str(scale)) as (environment, server),
    ):
        environment["TRUECALLER_VBC_STORE"] = (Path(directory) / "token.json").as_uri()
        path = write_records(Path(directory) / "calls.csv", options.records, first=0)
        places = sorted(random.uniform(0.05, 0.95) for _ in range(_KILLS)) if options.disturbed else []
        revocation = 0.5 if options.disturbed else None
        exit_code = -1
        started = time.perf_counter()
        for place in [*places, None]:
            process = _start_push(path, tokens, scale, environment)
            while process.poll() is None and (place is None or batches_begun(Path(f"{path}.push")) < place * batches):
                time.sleep(_POLL_INTERVAL)
                if revocation is not None and batches_begun(Path(f"{path}.push")) > revocation * batches:
                    server.revoke_all()
                    revocation = None
            if place is not None:
                process.kill()
            exit_code = process.wait()
        seconds = (time.perf_counter() - started) * scale
        received = server.stop()
        report = compare(path, options.records, counted(received["accepted"]))
    minutes = _arithmetic(batches, tokens, disturbed=options.disturbed)
    return {
        "tokens": tokens,
        **report,
        "exit_code": exit_code,
        "minutes": round(received["seconds"] / 60, 2),
        "arithmetic": round(minutes, 2),
        "ratio": round(received["seconds"] / 60 / minutes, 3),
        "overall": round(seconds / 60, 2),
        "mints": received["mints"],
        "planned_mints": tokens + (1 + _regrown(tokens) if options.disturbed else 0),
        "answers": received["answers"],
        "scale": round(scale, 2),
        "kills": places,
    }


def _regrown(tokens: int) -> int:
    """Return how many further tokens the quota pays for after a revocation: three of ten mints are a reserve."""
    return max(0, min(tokens - 1, _LARGEST - (tokens + 1)))


def _arithmetic(batches: int, tokens: int, *, disturbed: bool) -> float:
    """Return the minutes that the rates allow. A revocation halfway leaves the tokens that the quota pays for."""
    if not disturbed:
        return batches / _RATE / tokens
    first, rest = batches / 2 / _RATE / tokens, batches / 2 / _RATE
    after = rest / (1 + _regrown(tokens))
    if first + after <= _WINDOW:
        return first + after
    left = rest - (_WINDOW - first) * (1 + _regrown(tokens))  # in minutes of one token, from the end of the window on
    return _WINDOW + left / tokens


async def _serve(path: Path, scale: float) -> int:
    """Run the sandbox until SIGTERM, then write what it received. SIGUSR1 revokes all tokens."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    async with Sandbox(clock=lambda: time.monotonic() * scale) as sandbox:
        loop.add_signal_handler(signal.SIGUSR1, sandbox.revoke_all)
        print_environment(sandbox)
        await stopped.wait()
        answers = Counter(str(entry.status) for entry in sandbox.log)
        sent = [entry.at for entry in sandbox.log if entry.path.endswith("dynamic_call_records")]
        counts = {
            "accepted": sandbox.accepted,
            "mints": sandbox.mints,
            "answers": answers,
            "seconds": max(sent) - min(sent),
        }
        path.write_text(json.dumps(counts))  # noqa: ASYNC240 - no more requests are served
    return 0


def _start_push(path: Path, tokens: int, scale: float, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    arguments = ["--push", str(path), "--scale", str(scale), str(tokens)]
    return subprocess.Popen(  # noqa: S603 - this file
        [sys.executable, __file__, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _push_once(file: str, tokens: int, scale: float) -> int:
    """Push the file as the command does, with all durations scaled."""
    return push(PushOptions(file=file, connection=Connection(), tokens=tokens), scale=1 / scale)


if __name__ == "__main__":
    sys.exit(main())
