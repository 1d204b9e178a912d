"""Kill, interrupt and restart `calls push` in real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from truecaller_vbc.sandbox import Sandbox

from .cli_process import PATIENCE, end, run, start
from .record_files import accepted_once, outcomes, read_results, write_csv

pytestmark = pytest.mark.slow


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


RECORDS = 6_200
CHUNKS = 13


async def _journal_has(path: Path, lines: int, process: Process) -> None:
    """Wait until the journal has this many lines, or the process has ended."""
    async with asyncio.timeout(PATIENCE):
        while not path.exists() or path.read_bytes().count(b"\n") < lines:
            if process.returncode is not None:
                return
            await asyncio.sleep(0.005)


async def test_killed_three_times(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each record is acknowledged exactly once or listed as unknown; none is lost, and none is sent twice."""
    path = write_csv(tmp_path / "in.csv", RECORDS)
    journal = tmp_path / "in.csv.journal"
    sandbox.set_outage("batch", delay=0.2)
    lines = 1
    for _ in range(3):
        process = await start(sandbox, "calls", "push", path)
        await _journal_has(journal, lines + random.randrange(1, 6), process)
        with contextlib.suppress(ProcessLookupError):  # on a busy machine the process may have ended before
            process.kill()
        await end(process)
        lines = journal.read_bytes().count(b"\n")
    await asyncio.sleep(0.3)  # requests that were under way arrive
    sandbox.end_outage("batch")
    last = await run(sandbox, "calls", "push", path, "--json")

    facts = json.loads(last.out)
    rows = read_results(tmp_path / "in.csv.results.csv")
    assert len(rows) == RECORDS
    assert (facts["unsent"], facts["refused"], facts["invalid"]) == (0, 0, 0)
    assert facts["acknowledged"] + facts["unknown"] == RECORDS
    assert last.code == (1 if facts["unknown"] else 0)
    assert facts["acknowledged"] == outcomes(tmp_path / "in.csv.results.csv")["acknowledged"]
    assert facts["unknown"] <= 3 * 4 * 500
    accepted_once(rows, sandbox.accepted)
    # An acknowledged batch has the same ID at the server.
    assert {row["batch_id"] for row in rows if row["outcome"] == "acknowledged"} <= set(sandbox.batches)
    assert len(sandbox.batches) <= CHUNKS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_once(sandbox: Sandbox, tmp_path: Path, number: signal.Signals) -> None:
    """A signal lets running requests finish and writes the results; the same command continues later."""
    path = write_csv(tmp_path / "in.csv", RECORDS)
    sandbox.set_outage("batch", delay=0.3)
    process = await start(sandbox, "calls", "push", path)
    await _journal_has(tmp_path / "in.csv.journal", 2, process)
    process.send_signal(number)
    first = await end(process)

    assert first.code == 130
    assert "run the same command again" in first.out
    assert "stopping: waiting for the answers" in first.err
    counts = outcomes(tmp_path / "in.csv.results.csv")
    assert set(counts) == {"acknowledged", "unsent"}
    accepted_once(read_results(tmp_path / "in.csv.results.csv"), sandbox.accepted)
    sandbox.end_outage("batch")
    second = await run(sandbox, "calls", "push", path)
    assert (second.code, outcomes(tmp_path / "in.csv.results.csv")) == (0, {"acknowledged": RECORDS})
    accepted_once(read_results(tmp_path / "in.csv.results.csv"), sandbox.accepted)


async def test_interrupted_together_with_its_reader(sandbox: Sandbox, tmp_path: Path) -> None:
    """If the reader of the output ends too, as in `calls push FILE 2>&1 | tee log`, running requests still finish."""
    path = write_csv(tmp_path / "in.csv", RECORDS)
    sandbox.set_outage("batch", delay=0.3)
    ours, theirs = os.pipe()
    process = await start(sandbox, "calls", "push", path, out=theirs)
    os.close(theirs)
    await _journal_has(tmp_path / "in.csv.journal", 2, process)
    os.close(ours)
    process.send_signal(signal.SIGINT)
    first = await end(process)

    assert first.code == 130
    assert set(outcomes(tmp_path / "in.csv.results.csv")) == {"acknowledged", "unsent"}
    accepted_once(read_results(tmp_path / "in.csv.results.csv"), sandbox.accepted)


async def test_interrupted_twice(sandbox: Sandbox, tmp_path: Path) -> None:
    """A second signal ends the process at once; chunks under way are of unknown outcome."""
    path = write_csv(tmp_path / "in.csv", RECORDS)
    sandbox.set_outage("batch", delay=float("inf"))
    process = await start(sandbox, "calls", "push", path)
    await _journal_has(tmp_path / "in.csv.journal", 2, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    notice = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
    process.send_signal(signal.SIGINT)
    first = await end(process)

    assert b"stopping" in notice
    assert first.code == 130
    await sandbox.drop_connections()
    sandbox.end_outage("batch")
    second = await run(sandbox, "calls", "push", path)
    counts = outcomes(tmp_path / "in.csv.results.csv")
    assert second.code == 1
    assert counts["unknown"] > 0
    assert counts["unknown"] + counts["acknowledged"] == RECORDS
    assert "may have been taken or not" in second.out


async def test_interrupted_during_the_check(sandbox: Sandbox, tmp_path: Path) -> None:
    """A signal during the check of the input sends nothing and leaves no file."""
    path = tmp_path / "in.jsonl"
    path.touch()
    process = await start(sandbox, "calls", "push", "-", cwd=tmp_path)
    assert process.stdin is not None
    process.stdin.write(b"caller_number\n")
    async with asyncio.timeout(PATIENCE):
        while not list(tmp_path.glob("calls-push.journal.input.part")):
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    result = await end(process)

    assert result.code == 130
    assert sandbox.mints == 0
    assert {found.name for found in tmp_path.iterdir()} == {"in.jsonl", "calls-push.journal.lock"}


@pytest.mark.parametrize("empty", [False, True])
async def test_input_changed_during_the_run(sandbox: Sandbox, tmp_path: Path, empty: bool) -> None:
    """A change of the input during a run stops the run without results; with the old input it continues."""
    path = write_csv(tmp_path / "in.csv", RECORDS)
    before = path.read_bytes()
    sandbox.set_outage("batch", delay=0.3)
    process = await start(sandbox, "calls", "push", path)
    await _journal_has(tmp_path / "in.csv.journal", 2, process)
    path.write_bytes(b"" if empty else b"\n".join([before[: before.index(b"\n")], *before.splitlines()[:0:-1], b""]))
    first = await end(process)
    sandbox.end_outage("batch")

    assert first.code == 3
    assert "was changed while it was being read" in first.err
    assert not (tmp_path / "in.csv.results.csv").exists()
    path.write_bytes(before)
    second = await run(sandbox, "calls", "push", path)
    assert (second.code, outcomes(tmp_path / "in.csv.results.csv")) == (0, {"acknowledged": RECORDS})
    accepted_once(read_results(tmp_path / "in.csv.results.csv"), sandbox.accepted)


async def test_two_runs_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    """A second run at the same time is refused, and sends nothing."""
    path = write_csv(tmp_path / "in.csv", 600)
    sandbox.set_outage("batch", delay=float("inf"))
    first = await start(sandbox, "calls", "push", path)
    await _journal_has(tmp_path / "in.csv.journal", 2, first)
    second = await run(sandbox, "calls", "push", path)
    first.kill()
    await end(first)

    assert second.code == 2
    assert second.err.startswith("error: another run has the journal")
    assert second.err.count("\n") == 1
