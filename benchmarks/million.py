"""A million records through ``truecaller-vbc calls push``, whose process is killed on the way: none lost, none doubled.

    python benchmarks/million.py

A sandbox in a process of its own takes batches without a pace. The processes that push call the same function as the
command does, with `APIPolicy(batch_rate=None)`: at the API's pace of 60 batches in a minute it would take 33 minutes.
They are killed (SIGKILL) at random moments and begun again. Then each record is compared with what the sandbox took.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from truecaller_vbc import APIPolicy
from truecaller_vbc.cli.calls.push import PushOptions, push
from truecaller_vbc.cli.connection import Connection
from truecaller_vbc.sandbox import Sandbox, SandboxRules
from truecaller_vbc.sandbox.rules import ApiRules

_FIRST_NUMBER: Final = 919_800_000_009
_LABEL: Final = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
_DAY: Final = 24 * 60 * 60 * 1000
_LOOK: Final = 0.02
_PEAK: Final = re.compile(r"VmHWM:\s+(\d+) kB")
_MOST: Final = 500


def main() -> int:
    """Everything; each process is this file with another option."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--push", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        return asyncio.run(_serve(options.serve))
    if options.push is not None:
        return push(PushOptions(file=options.push, connection=Connection()), api_policy=APIPolicy(batch_rate=None))
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as directory, _sandbox(Path(directory)) as (environment, report):
        small = _write(Path(directory) / "small.csv", 10_000, first=options.records)
        _, small_peak = _push(small, environment)
        large = _write(Path(directory) / "large.csv", options.records, first=0)
        begun = time.perf_counter()
        peaks = [_push(large, environment, kill_at=place)[1] for place in _moments(options.kills)]
        code, peak = _push(large, environment)
        seconds = time.perf_counter() - begun
        facts = _facts(large, options.records, report())
    facts |= {
        "exit_code": code,
        "kills": options.kills,
        "seconds": round(seconds, 1),
        "peak_kib_10k": small_peak,
        "peak_kib": max([peak, *peaks]),
        "seed": options.seed,
    }
    sys.stdout.write(json.dumps(facts, indent=1) + "\n")
    return 0 if facts["ok"] and code == (1 if facts["unknown"] else 0) else 1


def _facts(path: Path, records: int, taken: Counter[int]) -> dict[str, Any]:
    """Each record of the input, by the results and by the sandbox."""
    outcomes: Counter[str] = Counter()
    lost = doubled = misreported = unknown_taken = 0
    rows = 0
    with Path(f"{path}.results.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            number = int(row["receiver_number"])
            misreported += number != _FIRST_NUMBER + rows * 10
            rows += 1
            outcome, times = row["outcome"], taken[number]
            outcomes[outcome] += 1
            doubled += times > 1
            lost += outcome == "acknowledged" and times == 0
            misreported += outcome not in ("acknowledged", "unknown")
            unknown_taken += outcome == "unknown" and times == 1
    strangers = sum(1 for number in taken if not _FIRST_NUMBER <= number < _FIRST_NUMBER + (records + 10_000) * 10)
    return {
        "ok": rows == records and not (lost or doubled or misreported or strangers),
        "records": rows,
        **outcomes,
        "unknown": outcomes["unknown"],
        "unknown_and_taken": unknown_taken,
        "lost": lost,
        "doubled": doubled,
        "misreported": misreported + strangers,
    }


def _moments(kills: int) -> list[float]:
    """By the share of the journal that is written, so that each falls into the sending, however fast the machine is."""
    return sorted(random.uniform(0.02, 0.9) for _ in range(kills))


def _push(path: Path, environment: dict[str, str], kill_at: float | None = None) -> tuple[int, int]:
    """The exit code of one run, and its largest resident memory in KiB."""
    journal = Path(f"{path}.journal")
    lines = 2 * -(-_records(path) // _MOST)
    process = subprocess.Popen(  # noqa: S603 - this file
        [sys.executable, __file__, "--push", str(path)], env=environment, stdout=subprocess.DEVNULL
    )
    peak = 0
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                found = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text())
                peak = int(found[1]) if found else peak
            if kill_at is not None and journal.exists() and journal.read_bytes().count(b"\n") > kill_at * lines:
                time.sleep(random.uniform(0, 0.1))
                process.kill()
                break
            time.sleep(_LOOK)
    finally:
        if process.poll() is None:
            process.kill()
    return process.wait(), peak


def _records(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1024 * 1024), b"")) - 1


def _write(path: Path, records: int, *, first: int) -> Path:
    now = int(time.time() * 1000)
    with path.open("w") as file:
        file.write("caller_number,receiver_number,starts_at,ends_at,label_id\n")
        for place in range(first, first + records):
            file.write(f"+911234567890,+{_FIRST_NUMBER + place * 10},{now},{now + _DAY},{_LABEL}\n")
    return path


@contextlib.contextmanager
def _sandbox(directory: Path) -> Iterator[tuple[dict[str, str], Any]]:
    """The environment of those who push, and what asks the sandbox, in the end, how often it took which number."""
    path = directory / "taken.json"
    process = subprocess.Popen(  # noqa: S603 - this file
        [sys.executable, __file__, "--serve", str(path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None  # noqa: S101
    try:
        environment = {**os.environ, **json.loads(process.stdout.readline())}

        def report() -> Counter[int]:
            process.send_signal(signal.SIGTERM)
            process.wait()
            return Counter({int(number): times for number, times in json.loads(path.read_text()).items()})

        yield environment, report
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


async def _serve(path: Path) -> int:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    rules = SandboxRules(api=ApiRules(batch_per_minute=None, keep_batches=1))
    async with Sandbox(rules) as sandbox:
        credentials = sandbox.credentials
        variables = {
            "TRUECALLER_VBC_BASE_URL": sandbox.base_url,
            "TRUECALLER_VBC_CLIENT_ACCOUNT_ID": credentials.client_account_id,
            "TRUECALLER_VBC_KEY_ID": credentials.key_id,
            "TRUECALLER_VBC_API_KEY": str(credentials.api_key),
        }
        sys.stdout.write(json.dumps(variables) + "\n")
        sys.stdout.flush()
        await over.wait()
        path.write_text(json.dumps(sandbox.accepted))  # noqa: ASYNC240 - nobody else is served any more
    return 0


if __name__ == "__main__":
    sys.exit(main())
