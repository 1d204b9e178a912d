"""Push a million records with ``truecaller-vbc calls push``, kill the process on the way, and check each record.

    python benchmarks/million.py

The sandbox runs in a process of its own. The pushing processes call the function of the command without a rate limit:
at the API's 60 batches per minute the push would take 33 minutes. They are killed (SIGKILL) at random moments and
started again. At the end each record of the results is compared with what the sandbox received.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from truecaller_vbc import APIPolicy
from truecaller_vbc.cli.calls.exports import results
from truecaller_vbc.cli.calls.list_options import RowParser
from truecaller_vbc.cli.calls.place import PushPlace, open_push, rules_of
from truecaller_vbc.cli.calls.push import PushOptions, push
from truecaller_vbc.cli.connection import Connection
from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules

_FIRST_NUMBER: Final = 919_800_000_009
_LABEL: Final = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
_DAY_MS: Final = 24 * 60 * 60 * 1000
_SMALL: Final = 10_000
_BATCH_SIZE: Final = 500
_POLL_INTERVAL: Final = 0.02
_PEAK_MEMORY: Final = re.compile(r"VmHWM:\s+(\d+) kB")


def main() -> int:
    """Run the whole check; with an internal option, run the sandbox or one push instead."""
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
    with (
        tempfile.TemporaryDirectory() as directory,
        sandbox_process(__file__, Path(directory)) as (environment, sandbox),
    ):
        small = write_records(Path(directory) / "small.csv", _SMALL, first=options.records)
        _, small_peak = _push(small, environment)
        large = write_records(Path(directory) / "large.csv", options.records, first=0)
        started = time.perf_counter()
        peaks = [_push(large, environment, kill_at=place)[1] for place in _kill_places(options.kills)]
        exit_code, peak = _push(large, environment)
        seconds = time.perf_counter() - started
        report = compare(large, options.records, counted(sandbox.stop()))
    report |= {
        "exit_code": exit_code,
        "kills": options.kills,
        "seconds": round(seconds, 1),
        "peak_kib_10k": small_peak,
        "peak_kib": max([peak, *peaks]),
        "seed": options.seed,
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 0 if report["ok"] and exit_code == (1 if report["unknown"] else 0) else 1


def counted(accepted: dict[str, int]) -> Counter[int]:
    """Return how often the sandbox received each number, from its JSON."""
    return Counter({int(number): times for number, times in accepted.items()})


def compare(path: Path, records: int, received: Counter[int]) -> dict[str, Any]:
    """Compare the results of the push with what the sandbox received.

    Args:
        path: the input file.
        records: number of its records.
        received: how often the sandbox received each number.
    """
    outcomes: Counter[str] = Counter()
    lost = doubled = misreported = unknown_received = 0
    rows = 0
    with open_push(PushPlace(file=str(path))) as (source, state):
        for result in results(source, RowParser(rules_of(state)), state):
            number, outcome = int(result.row.cells["receiver_number"]), result.outcome
            misreported += number != _FIRST_NUMBER + rows * 10
            rows += 1
            outcomes[outcome] += 1
            doubled += received[number] > 1
            lost += outcome == "acknowledged" and received[number] == 0
            misreported += outcome not in ("acknowledged", "unknown")
            unknown_received += outcome == "unknown" and received[number] == 1
    end = _FIRST_NUMBER + (records + _SMALL) * 10
    misreported += sum(1 for number in received if not _FIRST_NUMBER <= number < end)
    return {
        "ok": rows == records and not (lost or doubled or misreported),
        "records": rows,
        **outcomes,
        "unknown": outcomes["unknown"],
        "unknown_and_received": unknown_received,
        "lost": lost,
        "doubled": doubled,
        "misreported": misreported,
    }


def _kill_places(kills: int) -> list[float]:
    """Return when to kill, as shares of the batches, so that each kill hits the sending on any machine."""
    return sorted(random.uniform(0.02, 0.9) for _ in range(kills))


def _push(path: Path, environment: dict[str, str], kill_at: float | None = None) -> tuple[int, int]:
    """Return the exit code of one run and its peak memory in KiB."""
    state = Path(f"{path}.push")
    batches = -(-_count_records(path) // _BATCH_SIZE)
    process = subprocess.Popen(  # noqa: S603 - this file
        [sys.executable, __file__, "--push", str(path)], env=environment, stdout=subprocess.DEVNULL
    )
    peak = 0
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                found = _PEAK_MEMORY.search(Path(f"/proc/{process.pid}/status").read_text())
                peak = int(found[1]) if found else peak
            if kill_at is not None and batches_begun(state) > kill_at * batches:
                time.sleep(random.uniform(0, 0.1))
                process.kill()
                break
            time.sleep(_POLL_INTERVAL)
    finally:
        if process.poll() is None:
            process.kill()
    return process.wait(), peak


def batches_begun(state: Path) -> int:
    """Count the batches that were announced, while the push has its state locked."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro&immutable=1", uri=True)) as database:
            return int(database.execute("SELECT COUNT(*) FROM batches WHERE changed > 0").fetchone()[0])
    except sqlite3.Error:
        return 0


def _count_records(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1024 * 1024), b"")) - 1


def write_records(path: Path, records: int, *, first: int) -> Path:
    """Write a CSV file of this number of valid records, and return its path."""
    now = int(time.time() * 1000)
    with path.open("w") as file:
        file.write("caller_number,receiver_number,starts_at,ends_at,label_id\n")
        for number in range(first, first + records):
            file.write(f"+911234567890,+{_FIRST_NUMBER + number * 10},{now},{now + _DAY_MS},{_LABEL}\n")
    return path


class SandboxProcess:
    """A sandbox that a script runs with ``--serve FILE``, and whose counts it writes there at the end."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self._process = process
        self._path = path

    def revoke_all(self) -> None:
        """Revoke all tokens, if the script serves SIGUSR1."""
        self._process.send_signal(signal.SIGUSR1)

    def stop(self) -> Any:
        """Stop the sandbox; return what it has counted."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        return json.loads(self._path.read_text())


@contextlib.contextmanager
def sandbox_process(script: str, directory: Path, *arguments: str) -> Iterator[tuple[dict[str, str], SandboxProcess]]:
    """Run a script's sandbox; yield the environment for a push, and the sandbox."""
    path = directory / "received.json"
    process = subprocess.Popen(  # noqa: S603 - a benchmark
        [sys.executable, script, "--serve", str(path), *arguments], stdout=subprocess.PIPE
    )
    assert process.stdout is not None  # noqa: S101
    try:
        yield {**os.environ, **json.loads(process.stdout.readline())}, SandboxProcess(process, path)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def print_environment(sandbox: Sandbox) -> None:
    """Print the environment variables of a session with the sandbox, for `sandbox_process`."""
    credentials = sandbox.credentials
    variables = {
        "TRUECALLER_VBC_BASE_URL": sandbox.base_url,
        "TRUECALLER_VBC_CLIENT_ACCOUNT_ID": credentials.client_account_id,
        "TRUECALLER_VBC_KEY_ID": credentials.key_id,
        "TRUECALLER_VBC_API_KEY": str(credentials.api_key),
    }
    sys.stdout.write(json.dumps(variables) + "\n")
    sys.stdout.flush()


async def _serve(path: Path) -> int:
    """Run the sandbox until SIGTERM, then write how often it received each number."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    rules = SandboxRules(api=ApiRules(batch_per_minute=None, keep_batches=1))
    async with Sandbox(rules) as sandbox:
        print_environment(sandbox)
        await stopped.wait()
        path.write_text(json.dumps(sandbox.accepted))  # noqa: ASYNC240 - no more requests are served
    return 0


if __name__ == "__main__":
    sys.exit(main())
