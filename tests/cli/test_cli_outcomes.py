"""Ask what became of the records of a push (`calls outcomes`, `calls push --wait`)."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from truecaller_vbc import CallRecord
from truecaller_vbc.api.models import RecordStatus, Status, StatusInfo
from truecaller_vbc.call_lists import source as source_module
from truecaller_vbc.cli.calls.outcomes import match
from truecaller_vbc.sandbox import SandboxRules
from truecaller_vbc.sandbox.rules import ApiRules

from .cli_runner import invoke, sandbox_in_a_thread
from .record_files import CALLER, LABEL, line, number, read_results, write_csv

STARTS, ENDS = 1_800_000_000_000, 1_800_003_600_000


def _record(receiver: int = 0, *, starts_at: int = STARTS) -> CallRecord:
    return CallRecord(
        caller_number=CALLER, receiver_number=number(receiver), starts_at=starts_at, ends_at=ENDS, label_id=LABEL
    )


def _told(record: CallRecord, status: str = "success", message: str = "", **changed: object) -> RecordStatus:
    fields = {
        "caller_number": record.caller_number,
        "receiver_number": record.receiver_number,
        "starts_at": datetime.fromtimestamp(record.starts_at / 1000, UTC),
        "ends_at": datetime.fromtimestamp(record.ends_at / 1000, UTC),
    }
    return RecordStatus(status_info=StatusInfo(Status(status), message), **fields | changed)  # type: ignore[arg-type]


def test_match_in_any_order() -> None:
    """Records are found by numbers and window; the plus and fields that are known may be missing."""
    first, second, third = _record(0), _record(1), _record(2)
    told = [
        _told(third, "error", "Failed to push", receiver_number=third.receiver_number.lstrip("+")),
        _told(second, "pending"),
        _told(first, caller_number="", starts_at=None, ends_at=None),
    ]

    assert match({7: first, 8: second, 9: third}, told) == {7: ("success", ""), 9: ("failed", "Failed to push")}


def test_match_pairs_off() -> None:
    """Each answer is of one record: equal records pair off, another window is another record, and the rest stays."""
    morning, later = _record(starts_at=STARTS), _record(starts_at=STARTS + 60_000)
    told = [_told(later, "failed", "no"), _told(morning), _told(morning, "failed", "twice")]

    assert match({0: morning, 1: morning, 2: morning, 3: later}, told) == {
        0: ("success", ""),
        1: ("failed", "twice"),
        3: ("failed", "no"),
    }


@pytest.mark.parametrize("sparse", [False, True])
def test_outcome_of_each_row(tmp_path: Path, sparse: bool) -> None:
    """Each row gets its outcome, whatever the order of the answers; invalid rows and later runs change nothing."""
    lines = [line(at) for at in range(900)]
    lines[3] = line(5)  # the same record twice
    lines[700] = lines[700].replace(CALLER, "123")
    rules = SandboxRules(api=ApiRules(data_order="shuffled", sparse=sparse))
    with sandbox_in_a_thread(rules) as sandbox:
        path = write_csv(tmp_path / "in.csv", lines)
        for failed in (5, 600, 899):
            sandbox.set_outcome(number(failed), "Not a Truecaller user")
        assert invoke(sandbox, "calls", "push", path, "--skip-invalid").code == 1
        asked = invoke(sandbox, "calls", "outcomes", path, "--json")
        again = invoke(None, "calls", "outcomes", path, "--json")  # without credentials: nothing is to be asked
        invoke(sandbox, "calls", "results", path)

    facts = json.loads(asked.out)
    assert asked.code == 1
    assert (facts["success"], facts["failed"], facts["invalid"], facts["acknowledged"]) == (895, 4, 1, 0)
    failed_reason = {"outcome": "failed", "reason": "Not a Truecaller user", "records": 4, "lines": []}
    assert failed_reason in facts["reasons"]
    assert "failed: Not a Truecaller user (4 records)" in asked.err
    assert json.loads(again.out) == facts
    rows = read_results(tmp_path / "in.csv.results.csv")
    outcomes = {int(row["push_line"]) - 2: (row["push_outcome"], row["push_reason"]) for row in rows}
    assert {at for at, (outcome, _) in outcomes.items() if outcome == "failed"} == {3, 5, 600, 899}
    assert outcomes[700][0] == "invalid"


def test_input_is_not_read_if_all_succeeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million deliveries cost no pass over the file."""
    with sandbox_in_a_thread() as sandbox:
        path = write_csv(tmp_path / "in.csv", 600)
        assert invoke(sandbox, "calls", "push", path).code == 0
        monkeypatch.setattr(source_module.Source, "rows", None)
        assert invoke(sandbox, "calls", "outcomes", path).code == 0


@pytest.mark.parametrize("pending", ["404", "empty", "missing", "pending"])
def test_not_known_yet(tmp_path: Path, pending: str) -> None:
    """Batches that the API has not begun with are not final: exit code 3, and their records stay acknowledged."""
    rules = SandboxRules(api=ApiRules(batch_seconds=3600.0, batch_pending=pending))  # type: ignore[arg-type]
    with sandbox_in_a_thread(rules) as sandbox:
        path = write_csv(tmp_path / "in.csv", 3)
        assert invoke(sandbox, "calls", "push", path).code == 0
        asked = invoke(sandbox, "calls", "outcomes", path)

    assert (asked.code, asked.out.splitlines()[0]) == (3, "3 records: 3 acknowledged")
    assert f"truecaller-vbc calls outcomes {path}" in asked.out


@pytest.mark.slow
def test_wait_until_all_is_known(tmp_path: Path) -> None:
    """With --wait, also of a push, it asks again until the API has worked on all batches."""
    rules = SandboxRules(api=ApiRules(batch_seconds=1.5, batch_pending="404"))
    with sandbox_in_a_thread(rules) as sandbox:
        pushed = invoke(sandbox, "calls", "push", write_csv(tmp_path / "1.csv", 3), "--wait")
        path = write_csv(tmp_path / "2.csv", 3)
        invoke(sandbox, "calls", "push", path)
        asked = invoke(sandbox, "calls", "outcomes", "--wait", "20s", path)

    for ended in (pushed, asked):
        assert (ended.code, ended.out) == (0, "3 records: 3 success\n")


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
def test_busy_api(tmp_path: Path, status: int) -> None:
    """A busy API is waited for, even without --wait."""
    with sandbox_in_a_thread() as sandbox:
        path = write_csv(tmp_path / "in.csv", 3)
        invoke(sandbox, "calls", "push", path)
        sandbox.fail_next("status", times=5, status=status, headers={"Retry-After": "0"})
        asked = invoke(sandbox, "calls", "outcomes", path)
        left = sandbox.faults_left("status")

    assert (asked.code, asked.out, left) == (0, "3 records: 3 success\n", 0)


def test_credentials_of_another_account(tmp_path: Path) -> None:
    """Its batches would be looked for in vain, so that is an error."""
    with sandbox_in_a_thread() as sandbox:
        path = write_csv(tmp_path / "in.csv", 3)
        invoke(sandbox, "calls", "push", path)
        with closing(sqlite3.connect(tmp_path / "in.csv.push", isolation_level=None)) as state:
            state.execute("UPDATE push SET value = '\"another\"' WHERE name = 'account'")
        asked = invoke(sandbox, "calls", "outcomes", path)

    assert asked.code == 2
    assert "the push was for the account another" in asked.err


def test_nothing_was_pushed(tmp_path: Path) -> None:
    """Without a state one line says so, with --json as a document as well."""
    path = write_csv(tmp_path / "in.csv", 3)
    asked = invoke(None, "calls", "outcomes", path, "--json")

    assert asked.code == 2
    assert asked.err.startswith(f"error: there is no state of a push at {path}.push")
    assert json.loads(asked.out)["error"] in asked.err
