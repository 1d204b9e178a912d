"""Kill, interrupt and restart `calls push` in real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from truecaller_vbc.cli.calls.state import BatchRow, open_state
from truecaller_vbc.sandbox import Sandbox

from .cli_process import PATIENCE, end, run, start
from .record_files import number, write_csv

pytestmark = pytest.mark.slow

RECORDS = 6_200


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _hang_up_is_not_ignored() -> Iterator[None]:
    """Take SIGHUP as a terminal's child does: a process started with it ignored, as by nohup, leaves it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def _begun(path: Path) -> int:
    """Count the batches that have been announced, while another process has the state locked."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as database:
            return int(database.execute("SELECT COUNT(*) FROM batches WHERE changed > 0").fetchone()[0])
    except sqlite3.Error:
        return 0


async def _until_begun(path: Path, batches: int, process: Process) -> None:
    """Wait until so many batches have been announced, or the process has ended."""
    async with asyncio.timeout(PATIENCE):
        while _begun(path) < batches:
            if process.returncode is not None:
                return
            await asyncio.sleep(0.005)


def _totals(path: Path, sandbox: Sandbox) -> dict[str, int]:
    """Return the counts of the state, after a comparison of each batch with what the API has taken."""
    with open_state(path) as state:
        batches: list[BatchRow] = state.batches()
        totals = {name: count for name, count in state.totals().items() if count}
    assert max(sandbox.accepted.values(), default=0) <= 1
    for batch in batches:
        taken = {sandbox.accepted[int(number(at))] for at in range(batch.first, batch.first + batch.size)}
        if batch.state == "acknowledged":
            assert taken == {1}, batch
            assert batch.batch_id in sandbox.batches
        elif batch.state in ("open", "unsent", "refused"):
            assert taken == {0}, batch
    return totals


async def test_killed_three_times(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each record is acknowledged exactly once or unknown; none is lost, and none is sent twice."""
    path = write_csv(tmp_path / "in.csv", RECORDS)
    state = tmp_path / "in.csv.push"
    sandbox.set_outage("batch", delay=0.2)
    for _ in range(3):
        process = await start(sandbox, "calls", "push", path)
        await _until_begun(state, _begun(state) + random.randrange(1, 6), process)
        with contextlib.suppress(ProcessLookupError):  # on a busy machine the process may have ended before
            process.kill()
        await end(process)
    await asyncio.sleep(0.3)  # requests that were under way arrive
    sandbox.end_outage("batch")
    last = await run(sandbox, "calls", "push", path)

    totals = _totals(state, sandbox)
    assert totals["acknowledged"] + totals.get("unknown", 0) == RECORDS
    assert last.code == (1 if "unknown" in totals else 0)
    assert totals.get("unknown", 0) <= 3 * 4 * 500
    # What is in doubt may be sent once more, if that is asked for.
    if "unknown" in totals:
        assert (await run(sandbox, "calls", "push", path, "--send-unknown")).code == 0
        assert len(sandbox.accepted) == RECORDS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_interrupted_once(sandbox: Sandbox, tmp_path: Path, number: signal.Signals) -> None:
    """A signal lets running requests finish; the same command continues later."""
    path = write_csv(tmp_path / "in.csv", RECORDS)
    sandbox.set_outage("batch", delay=0.3)
    process = await start(sandbox, "calls", "push", path)
    await _until_begun(tmp_path / "in.csv.push", 2, process)
    process.send_signal(number)
    first = await end(process)

    assert first.code == 130
    assert "stopping: waiting for the answers" in first.err
    assert set(_totals(tmp_path / "in.csv.push", sandbox)) == {"acknowledged", "unsent"}
    sandbox.end_outage("batch")
    second = await run(sandbox, "calls", "push", path)
    assert (second.code, _totals(tmp_path / "in.csv.push", sandbox)) == (0, {"acknowledged": RECORDS})


@pytest.mark.parametrize(
    ("streams", "number"),
    [
        pytest.param(os.openpty, signal.SIGHUP, id="terminal closes"),
        pytest.param(os.pipe, signal.SIGINT, id="calls push FILE 2>&1 | tee log"),
    ],
)
async def test_interrupted_together_with_its_reader(
    sandbox: Sandbox, tmp_path: Path, streams: Callable[[], tuple[int, int]], number: signal.Signals
) -> None:
    """If a signal comes together with the end of all streams, running requests still finish."""
    path = write_csv(tmp_path / "in.csv", RECORDS)
    sandbox.set_outage("batch", delay=0.3)
    ours, theirs = streams()
    process = await start(sandbox, "calls", "push", path, out=theirs)
    os.close(theirs)
    await _until_begun(tmp_path / "in.csv.push", 2, process)
    os.close(ours)
    process.send_signal(number)
    first = await end(process)

    assert first.code == 130
    assert set(_totals(tmp_path / "in.csv.push", sandbox)) == {"acknowledged", "unsent"}


async def test_interrupted_twice(sandbox: Sandbox, tmp_path: Path) -> None:
    """A second signal ends the process at once; batches under way are in doubt."""
    path = write_csv(tmp_path / "in.csv", RECORDS)
    sandbox.set_outage("batch", delay=float("inf"))
    process = await start(sandbox, "calls", "push", path)
    await _until_begun(tmp_path / "in.csv.push", 1, process)
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
    totals = _totals(tmp_path / "in.csv.push", sandbox)
    assert second.code == 1
    assert totals == {"unknown": 500, "acknowledged": RECORDS - 500}
    assert "--send-unknown" in second.out


async def test_interrupted_during_the_check(sandbox: Sandbox, tmp_path: Path) -> None:
    """A signal while the input is read sends nothing and leaves no file."""
    process = await start(sandbox, "calls", "push", "-", cwd=tmp_path)
    assert process.stdin is not None
    process.stdin.write(b"caller_number\n")
    await asyncio.sleep(1.5)  # until it has set its handlers, and reads
    process.send_signal(signal.SIGINT)
    result = await end(process)

    assert result.code == 130
    assert sandbox.mints == 0
    assert not list(tmp_path.iterdir())


async def test_an_input_that_changes_during_the_run(sandbox: Sandbox, tmp_path: Path) -> None:
    """A change of the input stops the run; with the old input it continues."""
    path = write_csv(tmp_path / "in.csv", RECORDS)
    before = path.read_bytes()
    sandbox.set_outage("batch", delay=0.3)
    process = await start(sandbox, "calls", "push", path)
    await _until_begun(tmp_path / "in.csv.push", 2, process)
    path.write_bytes(b"")
    first = await end(process)
    sandbox.end_outage("batch")

    assert first.code == 3
    assert "was changed while it was being read" in first.err
    path.write_bytes(before)
    second = await run(sandbox, "calls", "push", path)
    assert (second.code, _totals(tmp_path / "in.csv.push", sandbox)) == (0, {"acknowledged": RECORDS})


async def test_two_runs_at_once(sandbox: Sandbox, tmp_path: Path) -> None:
    """A second run at the same time is refused, and sends nothing."""
    path = write_csv(tmp_path / "in.csv", 600)
    sandbox.set_outage("batch", delay=float("inf"))
    first = await start(sandbox, "calls", "push", path)
    await _until_begun(tmp_path / "in.csv.push", 1, first)
    second = await run(sandbox, "calls", "push", path)
    first.kill()
    await end(first)

    assert second.code == 2
    assert "another run is using" in second.err
