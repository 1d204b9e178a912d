"""Send a push through each kind of failure, in one process, and compare its state with what the API has taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from truecaller_vbc import APIPolicy, VBCSession
from truecaller_vbc.call_lists import InputChangedError, Row, open_source
from truecaller_vbc.cli.calls.interruption import Interruption
from truecaller_vbc.cli.calls.list_options import RecordRules, RowParser
from truecaller_vbc.cli.calls.pieces import Pieces
from truecaller_vbc.cli.calls.pusher import Pusher, PushLimits
from truecaller_vbc.cli.calls.state import (
    IN_DOUBT,
    BatchRow,
    PushFacts,
    PushState,
    StateError,
    create_state,
    open_state,
)
from truecaller_vbc.errors import CredentialsRejectedError, ForbiddenError, TokenError, UnknownOutcomeError
from truecaller_vbc.sandbox import ApiRules, Sandbox, SandboxRules
from truecaller_vbc.stores import MemoryStore

from .record_files import HOUR, line, write_csv

QUICK = PushLimits(wait_first=0.01, wait_most=0.05, give_up_after=0.4)
NO_LIMIT = APIPolicy(batch_rate=None, attempts=1, patience=timedelta(0))


class NoBar:
    """Keep what a bar would show."""

    def __init__(self) -> None:
        self.notes: set[str] = set()
        self.lines: list[str] = []

    def show(self, totals: Mapping[str, int], note: str = "") -> None:
        self.notes.add(note)

    def say(self, line: str) -> None:
        self.lines.append(line)


class Run:
    """Run the pusher on a state, as the command does it, and check the state after each run."""

    def __init__(self, sandbox: Sandbox, path: Path, records: int, store: MemoryStore | None = None) -> None:
        self.sandbox = sandbox
        self.store = store
        self.path = path
        self.state_path = path.with_suffix(".push")
        self.totals: dict[str, int] = {}
        self.batches: list[BatchRow] = []
        self.invalid: dict[int, str] = {}
        self.bar = NoBar()
        create_state(
            self.state_path,
            PushFacts(fingerprint="f", records=records, rules={}, account="a", base_url="https://x.test"),
        )

    async def __call__(
        self,
        *,
        interruption: Interruption | None = None,
        before: Callable[[PushState], object] = lambda _: None,
        policy: APIPolicy = NO_LIMIT,
        limits: PushLimits = QUICK,
    ) -> Exception | None:
        with open_state(self.state_path) as state, open_source(self.path) as source:
            source.fingerprint()
            before(state)
            session = VBCSession(
                self.sandbox.credentials, base_url=self.sandbox.base_url, api_policy=policy, store=self.store
            )
            async with asyncio.timeout(30), session:
                pusher = Pusher(
                    session,
                    Pieces(source),
                    state,
                    interruption=interruption or Interruption(),
                    bar=self.bar,  # type: ignore[arg-type]
                    limits=limits,
                )
                reason = await pusher.push(RowParser(RecordRules()))
            self.totals = {name: count for name, count in state.totals().items() if count}
            self.batches = state.batches()
            self.invalid = {at: why for batch in self.batches for at, (_, why) in state.outcomes(batch).items()}
        self._compare()
        return reason

    def _compare(self) -> None:
        """Check that no record was taken twice, and that each outcome is true."""
        assert max(self.sandbox.accepted.values(), default=0) <= 1
        lines = self.path.read_text().splitlines()[1:]
        for batch in self.batches:
            for at in range(batch.first, batch.first + batch.size):
                taken = at not in self.invalid and self.sandbox.accepted[int(lines[at].split(",")[1])]
                if batch.state not in IN_DOUBT or at in self.invalid:
                    assert taken == (batch.state == "acknowledged" and at not in self.invalid), (at, batch)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def run(sandbox: Sandbox, tmp_path: Path) -> Run:
    """Return a run with 5,200 records: ten batches of 500, and one of 200."""
    return Run(sandbox, write_csv(tmp_path / "in.csv", 5200), 5200)


async def test_everything_is_acknowledged(run: Run) -> None:
    """A second run sends nothing."""
    assert await run() is None
    assert await run() is None
    assert run.totals == {"acknowledged": 5200}
    assert sorted(run.sandbox.batches.values()) == [200, *[500] * 10]


async def test_the_first_batch_goes_alone(run: Run) -> None:
    """While nothing is known of the API, one batch at most is in doubt."""
    run.sandbox.fail_next("batch", times=4, drop="after")

    assert await run(limits=attrs.evolve(QUICK, give_up_after=20)) is None
    assert run.totals == {"unknown": 503, "acknowledged": 4697}


async def test_a_lost_answer(run: Run) -> None:
    """The rest is sent in the same run, one record first; what was lost stays in doubt."""
    run.sandbox.fail_next("batch", drop="after")

    assert await run() is None
    assert run.totals == {"unknown": 500, "acknowledged": 4700}
    assert 1 in run.sandbox.batches.values()
    assert await run() is None
    assert run.totals == {"unknown": 500, "acknowledged": 4700}


async def test_records_in_doubt_are_sent_once_more_on_demand(run: Run) -> None:
    """The API had not taken them."""
    run.sandbox.fail_next("batch", drop="before")
    assert await run() is None
    if run.totals.get("unknown"):
        assert await run(before=PushState.reopen_unknown) is None
    assert run.totals == {"acknowledged": 5200}


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"status": 502}, {"drop": "after"}])
async def test_many_runs_in_an_outage(run: Run, fault: dict[str, Any]) -> None:
    """However often it is repeated, one batch and single records are in doubt; then all others are acknowledged."""
    run.sandbox.set_outage("api", **fault)
    for _ in range(9):
        assert isinstance(await run(limits=attrs.evolve(QUICK, give_up_after=0.1)), Exception)
    assert run.totals["unsent"] >= 5200 - 500
    run.sandbox.end_outage("api")
    assert await run() is None
    assert run.totals["acknowledged"] >= 5200 - 500
    assert "unsent" not in run.totals


async def test_an_outage_of_the_batches_only(run: Run) -> None:
    """If other calls work, single records try whether batches do."""
    run.sandbox.set_outage("batch", status=503)
    for _ in range(9):
        assert isinstance(await run(), UnknownOutcomeError)
    assert 500 < run.totals["unknown"] < 700
    run.sandbox.end_outage("batch")
    assert await run() is None
    assert run.totals.keys() == {"unknown", "acknowledged"}
    assert run.totals["unknown"] < 700


async def test_an_outage_of_the_labels_only(run: Run) -> None:
    """Labels that fail time after time do not stop a push while the rest of the API works."""
    run.sandbox.set_outage("labels", status=503)
    assert await run(limits=PushLimits(wait_first=0.01, wait_most=0.05)) is None
    assert run.totals == {"acknowledged": 5200}


async def test_an_outage_that_ends_during_the_run(run: Run) -> None:
    """The push waits, says for what, and goes on by itself."""
    run.sandbox.set_outage("api", status=503)
    asyncio.get_running_loop().call_later(0.3, run.sandbox.end_outage, "api")

    assert await run(limits=attrs.evolve(QUICK, give_up_after=20)) is None
    assert run.totals == {"acknowledged": 5200}
    assert any("next look in" in note for note in run.bar.notes)


async def test_the_first_valid_record_tries(sandbox: Sandbox, tmp_path: Path) -> None:
    """Rows that cannot be sent do not count as the record that is sent alone."""
    lines = [line(at) for at in range(1200)]
    lines[500:800] = ["x,y,z,,"] * 300
    lines[1000:] = ["x,y,z,,"] * 200
    run = Run(sandbox, write_csv(tmp_path / "in.csv", lines), 1200)
    sandbox.fail_next("batch", drop="after")

    assert await run() is None
    assert run.totals == {"unknown": 500, "invalid": 500, "acknowledged": 200}
    assert sorted(sandbox.batches.values()) == [1, 199, 500]


async def test_one_wrong_record_in_a_batch(sandbox: Sandbox, tmp_path: Path) -> None:
    """The batch is cut until the record is found; all others are sent."""
    lines = [line(at) for at in range(1500)]
    lines[777] = line(777, label="11111111-0000-4000-8000-000000000000")
    run = Run(sandbox, write_csv(tmp_path / "in.csv", lines), 1500)

    assert await run() is None
    assert run.totals["acknowledged"] == 1499
    refused = [batch for batch in run.batches if batch.state == "refused"]
    assert [(it.first, it.size) for it in refused] == [(777, 1)]
    assert refused[0].error


async def test_a_whole_file_that_is_refused(run: Run) -> None:
    """Cutting ends soon where it finds nothing."""
    run.sandbox.set_outage("batch", status=400)

    assert await run() is None
    assert run.totals == {"refused": 5200}
    assert len(run.batches) < 60


async def test_everything_is_refused_for_another_reason(run: Run) -> None:
    """A refusal that does not concern the records ends the run; a later run sends them."""
    run.sandbox.set_outage("batch", status=403)

    assert isinstance(await run(), ForbiddenError)
    assert run.totals == {"unsent": 5200}
    run.sandbox.end_outage("batch")
    assert await run() is None
    assert run.totals == {"acknowledged": 5200}


async def test_no_token(run: Run) -> None:
    """Without a token nothing is sent, and a later run sends everything."""
    run.sandbox.set_outage("token", status=500)

    assert isinstance(await run(), TokenError)
    assert run.totals == {"unsent": 5200}
    run.sandbox.end_outage("token")
    assert await run(limits=attrs.evolve(QUICK, give_up_after=20)) is None
    assert run.totals == {"acknowledged": 5200}


async def test_wrong_credentials_are_not_waited_for(run: Run) -> None:
    """Waiting does not mend them."""
    run.sandbox.set_outage("token", status=401)

    assert isinstance(await run(limits=attrs.evolve(QUICK, give_up_after=60)), CredentialsRejectedError)
    assert run.totals == {"unsent": 5200}


async def test_a_429_is_a_pace(run: Run) -> None:
    """Refusals for the pace put nothing in doubt, and the push goes on."""
    run.sandbox.fail_next("batch", times=7, status=429)

    assert await run(limits=attrs.evolve(QUICK, give_up_after=20)) is None
    assert run.totals == {"acknowledged": 5200}
    assert sorted(run.sandbox.batches.values()) == [200, *[500] * 10]


@pytest.mark.slow
async def test_two_pushes_at_once_share_the_pace(tmp_path: Path) -> None:
    """Each keeps to the pace for itself, gets a 429 for the other's batches, waits, and comes to its end."""
    rules = SandboxRules(api=ApiRules(batch_per_minute=6))
    async with Sandbox(rules, clock=lambda: time.monotonic() * 60) as sandbox:
        runs = []
        store = MemoryStore()
        for name, first in (("a", 0), ("b", 4000)):
            path = write_csv(tmp_path / f"{name}.csv", [line(at) for at in range(first, first + 4000)])
            runs.append(Run(sandbox, path, 4000, store))
        policy = APIPolicy(batch_rate=6, batch_window=timedelta(seconds=1), attempts=1, patience=timedelta(0))
        limits = attrs.evolve(QUICK, give_up_after=20)
        assert await asyncio.gather(*(run(policy=policy, limits=limits) for run in runs)) == [None, None]
        assert [run.totals for run in runs] == [{"acknowledged": 4000}] * 2
        assert len(sandbox.log) > 16


async def test_invalid_records(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each invalid record is named by its row, also one that became invalid during the run."""
    lines = [line(at) for at in range(1200)]
    lines[3] = lines[3].replace("+9112", "9112")
    lines[700] = line(700, ends_in=-HOUR // 2)
    run = Run(sandbox, write_csv(tmp_path / "in.csv", lines), 1200)

    for _ in range(2):
        assert await run() is None
        assert run.totals == {"acknowledged": 1198, "invalid": 2}
    assert run.invalid[3].startswith("caller_number: ")
    assert run.invalid[700] == "ends_at: lies in the past: the window has closed"


async def test_a_few_first(run: Run) -> None:
    """Exactly as many rows are sent as were asked for, and the others later."""
    assert await run(limits=attrs.evolve(QUICK, records=10)) is None
    assert run.totals == {"acknowledged": 10, "unsent": 5190}
    assert await run(limits=attrs.evolve(QUICK, records=700)) is None
    assert run.totals == {"acknowledged": 710, "unsent": 4490}
    assert await run() is None
    assert run.totals == {"acknowledged": 5200}


async def test_until_a_time(run: Run) -> None:
    """Nothing leaves after it."""
    assert await run(limits=attrs.evolve(QUICK, until=time.time() - 1)) is None
    assert run.totals == {"unsent": 5200}


async def test_interruption_while_answers_are_awaited(run: Run) -> None:
    """Running requests finish, and no further batch is sent."""
    interruption = Interruption()
    run.sandbox.set_outage("batch", delay=0.3)
    asyncio.get_running_loop().call_later(0.5, interruption.asked.set)

    assert await run(interruption=interruption) is None
    assert run.totals.keys() == {"acknowledged", "unsent"}
    assert any("stopping: waiting for the answers" in line for line in run.bar.lines)
    run.sandbox.end_outage("batch")
    assert await run() is None
    assert run.totals == {"acknowledged": 5200}


async def test_interruption_while_the_push_waits(run: Run) -> None:
    """A push that waits for an API or for the pace ends at once, with nothing in doubt."""
    for endpoint, fault in (("token", {"status": 503}), ("batch", {"status": 429}), ("api", {"status": 429})):
        interruption = Interruption()
        run.sandbox.set_outage(endpoint, **fault)  # type: ignore[arg-type]
        asyncio.get_running_loop().call_later(0.2, interruption.asked.set)
        assert await run(interruption=interruption, limits=PushLimits(wait_first=30)) is None
        run.sandbox.end_outage(endpoint)  # type: ignore[arg-type]
        assert run.totals == {"unsent": 5200}


async def test_no_batch_is_sent_after_an_interruption(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that waits for its turn during an interruption is not sent."""
    interruption = Interruption()
    announce = PushState.sending

    def sending(state: PushState, batch: BatchRow, invalid: Mapping[int, str]) -> None:
        announce(state, batch, invalid)
        interruption.asked.set()

    monkeypatch.setattr(PushState, "sending", sending)
    policy = APIPolicy(batch_rate=1, batch_window=timedelta(seconds=0.1), attempts=1, patience=timedelta(0))
    assert await run(interruption=interruption, policy=policy) is None
    assert len(run.sandbox.batches) == 1
    assert run.totals == {"acknowledged": 500, "unsent": 4700}


async def test_a_state_that_cannot_be_written(run: Run) -> None:
    """Nothing is sent then."""

    def fill(state: PushState) -> None:
        state._database.execute("PRAGMA query_only = ON")

    assert isinstance(await run(before=fill), StateError)
    assert run.sandbox.accepted.total() == 0
    assert await run() is None
    assert run.totals == {"acknowledged": 5200}


async def test_a_state_that_fails_during_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch under way is of unknown outcome, and nothing is sent twice."""
    answered = PushState.answered

    def full(state: PushState, batch: BatchRow, invalid: Mapping[int, str]) -> None:
        state._database.execute("PRAGMA query_only = ON")
        answered(state, batch, invalid)

    monkeypatch.setattr(PushState, "answered", full)
    assert isinstance(await run(), StateError)
    monkeypatch.undo()
    assert await run() is None
    assert run.totals == {"acknowledged": 4700, "unknown": 500}
    assert run.sandbox.accepted.total() == 5200


async def test_an_input_that_changes(run: Run) -> None:
    """Nothing more is sent from it."""

    def change(_: PushState) -> None:
        with run.path.open("a") as file:
            file.writelines(line(at) + "\n" for at in range(6000, 7000))

    assert isinstance(await run(before=change), InputChangedError)
    assert run.sandbox.accepted.total() == 0


async def test_an_input_that_is_touched(run: Run) -> None:
    """The same bytes with another date are the same input."""

    def touch(_: PushState) -> None:
        run.path.touch()

    assert await run(before=touch) is None
    assert run.totals == {"acknowledged": 5200}


async def test_an_input_that_is_emptied_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is the change, not the rows that are missing then."""
    path = write_csv(tmp_path / "in.csv", 3)
    with open_source(path) as source:
        source.fingerprint()
        read = source.rows

        def empty() -> Iterator[Row]:
            path.write_bytes(path.read_bytes()[:70])
            return read()

        monkeypatch.setattr(source, "rows", empty)
        with pytest.raises(InputChangedError, match="was changed"):
            await Pieces(source).read(BatchRow(0, 3, "open"))
