"""Check journal and results after each kind of failure, in one process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from truecaller_vbc import APIPolicy, VBCSession
from truecaller_vbc.cli.calls.journal import Header, Journal, JournalError, Totals, open_journal
from truecaller_vbc.cli.calls.progress import Bar
from truecaller_vbc.cli.calls.pusher import Interruption, Pusher
from truecaller_vbc.cli.calls.reading import InputChangedError, open_source
from truecaller_vbc.cli.calls.records import RowParser
from truecaller_vbc.cli.calls.report import results_of_push, write_results
from truecaller_vbc.errors import ConfigurationError, ForbiddenError, TokenError, UnknownOutcomeError
from truecaller_vbc.sandbox import Sandbox

from .record_files import HOUR, accepted_once, line, outcomes, read_results, write_csv


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


QUICK = APIPolicy(attempts=1)


class Run:
    """One run of the pusher with a journal, as the command does it."""

    def __init__(self, sandbox: Sandbox, path: Path, records: int) -> None:
        self.sandbox = sandbox
        self.path = path
        self.records = records
        self.journal_path = path.with_suffix(".journal")
        self.results_path = path.with_suffix(".results.csv")
        self.totals = Totals()

    async def __call__(
        self,
        *,
        interruption: Interruption | None = None,
        before: Callable[[Journal], object] = lambda _: None,
        policy: APIPolicy = QUICK,
    ) -> Exception | None:
        parser = RowParser()
        with open_journal(self.journal_path) as journal, open_source(self.path) as source:
            if journal.header is None:
                journal.begin(Header(source.fingerprint(), {}, self.records))
            before(journal)
            pusher = Pusher(source, parser, journal, interruption or Interruption(), Bar("", None))
            session = VBCSession(self.sandbox.credentials, base_url=self.sandbox.base_url, api_policy=policy)
            async with asyncio.timeout(30), session:
                reason = await pusher.push(session.calls, "v3")
            write_results(self.results_path, results_of_push(source, parser, journal))
            self.totals = journal.chunks.totals()
        accepted_once(read_results(self.results_path), self.sandbox.accepted)
        assert dict(outcomes(self.results_path)) == {
            name: count for name, count in attrs.asdict(self.totals).items() if count
        }
        return reason


@pytest.fixture
def run(sandbox: Sandbox, tmp_path: Path) -> Run:
    """Return a run with 1,700 records: three chunks of 500, and one of 200."""
    return Run(sandbox, write_csv(tmp_path / "in.csv", 1700), 1700)


async def test_everything_is_acknowledged(run: Run) -> None:
    """A second run sends nothing."""
    assert await run() is None
    assert await run() is None
    assert run.totals == Totals(acknowledged=1700)
    assert sorted(run.sandbox.batches.values()) == [200, 500, 500, 500]


async def test_lost_answer(run: Run) -> None:
    """A chunk whose answer was lost is of unknown outcome, and is never sent again."""
    run.sandbox.fail_next("batch", drop="after")

    assert await run() is None
    assert run.totals.unknown in (200, 500)
    first = run.totals
    assert await run() is None
    assert run.totals == first
    assert sum(run.sandbox.accepted.values()) == 1700


async def test_refused_chunk(run: Run) -> None:
    """A chunk that the API refused is not sent again, and the results have the reason."""
    run.sandbox.fail_next("batch", status=400)

    assert await run() is None
    assert run.totals.refused in (200, 500)
    assert {row["error"][:8] for row in read_results(run.results_path) if row["outcome"] == "refused"} == {"HTTP 400"}
    assert await run() is None
    assert sum(run.sandbox.accepted.values()) == run.totals.acknowledged


async def test_everything_is_refused(run: Run) -> None:
    """A refusal that does not concern the records ends the run; a later run sends them."""
    run.sandbox.set_outage("batch", status=403)

    assert isinstance(await run(), ForbiddenError)
    assert run.totals == Totals(unsent=1700)
    run.sandbox.end_outage("batch")
    assert await run() is None
    assert run.totals == Totals(acknowledged=1700)


async def test_no_token(run: Run) -> None:
    """Without a token nothing is sent, and a later run sends everything."""
    run.sandbox.set_outage("token", status=500)

    assert isinstance(await run(), TokenError)
    assert run.totals == Totals(unsent=1700)
    run.sandbox.end_outage("token")
    assert await run() is None
    assert run.totals == Totals(acknowledged=1700)


async def test_chunks_are_the_same_in_each_run(run: Run) -> None:
    """A later run sends only the chunks that are left, each with the same records as before."""

    def some(journal: Journal) -> None:
        journal.outcome(0, "refused", {}, error="HTTP 400")
        journal.sending(2, {1: "late"})

    assert await run(before=some) is None
    rows = read_results(run.results_path)
    assert [rows[place]["outcome"] for place in (0, 499, 500, 999, 1000, 1001, 1499, 1500, 1699)] == [
        *("refused", "refused", "acknowledged", "acknowledged"),
        *("unknown", "invalid", "unknown", "acknowledged", "acknowledged"),
    ]
    assert {int(row["receiver_number"]) for row in rows[500:1000] + rows[1500:]} == set(run.sandbox.accepted)
    assert rows[500]["batch_id"] != rows[1500]["batch_id"]


async def test_invalid_records(sandbox: Sandbox, tmp_path: Path) -> None:
    """The results name each invalid record by its line, also one that became invalid during the run."""
    lines = [line(place) for place in range(1200)]
    lines[3] = lines[3].replace("+9112", "9112")
    lines[700] = line(700, ends_in=-HOUR // 2)
    for place in range(1000, 1200):
        lines[place] = "x,y,z"
    run = Run(sandbox, write_csv(tmp_path / "in.csv", lines), 1200)

    assert await run() is None
    assert run.totals == Totals(acknowledged=998, invalid=202)
    wrong = {row["line"]: row["error"] for row in read_results(run.results_path) if row["outcome"] == "invalid"}
    assert wrong["5"].startswith("caller_number: ")
    assert wrong["702"] == "ends_at: lies in the past: the window has closed"
    assert wrong["1002"] == "has 3 cells, and the header has 5"
    assert await run() is None
    assert run.totals == Totals(acknowledged=998, invalid=202)


@pytest.mark.slow
async def test_interruption(run: Run) -> None:
    """After an interruption running requests finish, and no further chunk is sent."""
    interruption = Interruption()
    run.sandbox.set_outage("batch", delay=0.3)
    asyncio.get_running_loop().call_later(0.2, interruption.asked.set)

    assert await run(interruption=interruption, policy=APIPolicy(batch_rate=1, attempts=1)) is None
    assert run.totals == Totals(acknowledged=run.totals.acknowledged, unsent=1700 - run.totals.acknowledged)
    assert run.totals.acknowledged in (200, 500)
    run.sandbox.end_outage("batch")
    assert await run() is None
    assert run.totals == Totals(acknowledged=1700)


@pytest.mark.slow
async def test_no_chunk_is_sent_after_an_interruption(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that waits for its turn during an interruption is not sent."""
    interruption = Interruption()
    announce = Journal.sending

    def sending(journal: Journal, chunk: int, invalid: Mapping[int, str]) -> None:
        announce(journal, chunk, invalid)
        interruption.asked.set()

    monkeypatch.setattr(Journal, "sending", sending)
    run.sandbox.set_outage("batch", delay=0.8)

    policy = APIPolicy(batch_rate=1, batch_window=timedelta(seconds=0.1), attempts=1)
    assert await run(interruption=interruption, policy=policy) is None
    assert len(run.sandbox.batches) == 1
    assert run.totals.acknowledged + run.totals.unsent == 1700


async def test_journal_that_cannot_be_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the journal cannot be written, nothing is sent, no partial line stays, and a later run continues."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    def fill(_: Journal) -> None:
        monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(ConfigurationError, match=r"No space left .* run the same command again"):
        await run(before=fill)
    assert run.sandbox.accepted.total() == 0
    assert len(run.journal_path.read_text().splitlines()) == 1
    monkeypatch.undo()
    assert await run() is None
    assert run.totals == Totals(acknowledged=1700)


async def test_journal_that_fails_during_a_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the journal fails during a run, chunks under way are of unknown outcome, and nothing is sent twice."""
    calls = 0
    real = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if 3 <= calls <= 8:
            raise OSError(28, "No space left on device")
        real(descriptor)

    def fill(_: Journal) -> None:
        monkeypatch.setattr(os, "fsync", fsync)

    assert isinstance(await run(before=fill), JournalError)
    unknown = run.totals.unknown
    assert run.totals.unsent > 0
    assert run.totals.acknowledged + unknown + run.totals.unsent == 1700
    monkeypatch.undo()
    assert await run() is None
    assert run.totals == Totals(acknowledged=1700 - unknown, unknown=unknown)
    assert run.sandbox.accepted.total() == 1700


async def test_many_lost_answers(run: Run) -> None:
    """Many lost answers in a row end the run."""
    run.sandbox.set_outage("batch", drop="after")

    assert isinstance(await run(), UnknownOutcomeError)
    assert run.totals.unknown >= 1200


async def test_input_that_changes(run: Run) -> None:
    """A change of the input during a run ends the run without results."""

    def change(_: Journal) -> None:
        with run.path.open("a") as file:
            file.writelines(line(place) + "\n" for place in range(2000, 4000))

    with pytest.raises(InputChangedError, match="was changed while it was being read"):
        await run(before=change)
    assert run.sandbox.accepted.total() == 0
    assert not run.results_path.exists()
