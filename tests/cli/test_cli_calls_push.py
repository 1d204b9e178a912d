"""Run `calls push` and the commands around it with a sandbox: one state from the first batch to the last outcome."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from truecaller_vbc.call_lists import Source, SourceOptions
from truecaller_vbc.cli.calls.exports import without_formula
from truecaller_vbc.cli.calls.push import copy_stdin
from truecaller_vbc.cli.calls.state import create_state, open_state
from truecaller_vbc.errors import ConfigurationError
from truecaller_vbc.sandbox import Sandbox

from .cli_process import Ended
from .cli_runner import invoke, sandbox_in_a_thread
from .record_files import CALLER, HEADER, LABEL, line, number, write_csv, write_jsonl


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


def _push(sandbox: Sandbox | None, *arguments: str | Path, stdin: bytes = b"") -> Ended:
    return invoke(sandbox, "calls", "push", *arguments, stdin=stdin)


def _facts(ended: Ended) -> dict[str, object]:
    facts = json.loads(ended.out)
    assert facts["exit_code"] == ended.code
    return {name: value for name, value in facts.items() if value}


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_a_file_from_the_first_batch_to_the_last_outcome(sandbox: Sandbox, tmp_path: Path) -> None:
    """1,001 records are three batches; a second run sends nothing; outcomes, results and rejects follow."""
    path = write_csv(tmp_path / "in.csv", 1001)
    sandbox.set_outcome(number(7), "Not a Truecaller user")
    first, second = _push(sandbox, path), _push(sandbox, path)

    assert (first.code, first.err) == (0, "")
    assert first.out.splitlines()[0] == "1,001 records: 1,001 acknowledged"
    assert second == first
    assert (sorted(sandbox.batches.values()), sandbox.mints) == ([1, 500, 500], 1)
    state = tmp_path / "in.csv.push"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert {it.name for it in tmp_path.iterdir()} == {"in.csv", "in.csv.push"}
    assert str(sandbox.credentials.api_key).encode() not in state.read_bytes()

    asked = invoke(sandbox, "calls", "outcomes", path)
    assert asked.code == 1
    assert "failed: Not a Truecaller user" in asked.err
    assert invoke(sandbox, "calls", "results", path).code == 0
    rows = _rows(tmp_path / "in.csv.results.csv")
    assert [row["push_line"] for row in rows] == [str(at) for at in range(2, 1003)]
    assert rows[7]["push_outcome"] == "failed"
    assert rows[7]["receiver_number"] == number(7)
    assert {row["push_batch_id"] for row in rows} == set(sandbox.batches)
    assert invoke(sandbox, "calls", "rejects", path).code == 0
    rejected = _rows(tmp_path / "in.csv.rejects.csv")
    assert number(7) in {row["receiver_number"] for row in rejected}
    # The rejects can be pushed as they are: their own columns are left out.
    assert _push(sandbox, tmp_path / "in.csv.rejects.csv").code == 0


def test_wait_asks_in_the_same_run(sandbox: Sandbox, tmp_path: Path) -> None:
    """The exit code is that of the outcomes."""
    path = write_csv(tmp_path / "in.csv", [line(0)])
    sandbox.set_outcome(number(0), None)
    done = _push(sandbox, path, "--wait", "10s", "--json")

    assert done.code == 0
    assert _facts(done)["success"] == 1


def test_the_next_list_of_the_same_name(sandbox: Sandbox, tmp_path: Path) -> None:
    """A finished push binds nothing: its state is kept beside, and deleted on demand only."""
    path = write_csv(tmp_path / "calls.csv", 3)
    assert _push(sandbox, path).code == 0
    write_csv(path, [line(at) for at in range(10, 15)])
    second = _push(sandbox, path)
    write_csv(path, 0)
    empty = _push(sandbox, path)
    write_csv(path, [line(20)])
    fourth = _push(sandbox, path)

    assert [it.code for it in (second, empty, fourth)] == [0, 0, 0]
    assert "the earlier push of this name is kept in" in second.out
    assert sandbox.accepted.total() == 9
    kept = [it for it in tmp_path.iterdir() if ".push.20" in it.name]
    assert len(kept) >= 2
    listed = invoke(None, "calls", "list", tmp_path, "--json")
    assert len(json.loads(listed.out)) == len(kept) + 1
    assert invoke(None, "calls", "prune", tmp_path, "--older-than", "1").out == ""
    pruned = invoke(None, "calls", "prune", tmp_path, "--older-than", "0")
    assert pruned.out.count("deleted") == len(kept)
    assert (tmp_path / "calls.csv.push").exists()


def test_an_unfinished_push_binds(sandbox: Sandbox, tmp_path: Path) -> None:
    """Another list under its name is refused until it is finished."""
    path = write_csv(tmp_path / "in.csv", 1200)
    before = path.read_bytes()
    assert _push(sandbox, path, "--limit", "10").code == 0
    write_csv(path, 5)
    refused = _push(sandbox, path)
    path.write_bytes(before)
    other = _push(sandbox, path, "--reason", "Delivery of a parcel")
    last = _push(sandbox, path)

    assert (refused.code, other.code, last.code) == (2, 2, 0)
    assert "not finished" in refused.err
    assert "another reason" in other.err
    assert sandbox.accepted.total() == 1200
    assert max(sandbox.accepted.values()) == 1


def test_a_finished_list_with_other_options(sandbox: Sandbox, tmp_path: Path) -> None:
    """The same list for another day is a new push; with another label it would be a mistake."""
    path = tmp_path / "in.csv"
    path.write_text(f"caller_number,receiver_number,label_id\n{CALLER},{number(0)},{LABEL}\n")
    day = ("--window", "10:00-18:00", "--timezone", "Asia/Kolkata")
    assert _push(sandbox, path, "--date", "tomorrow", *day).code == 0
    assert _push(sandbox, path, "--date", "tomorrow", *day).code == 0
    assert sandbox.accepted.total() == 1
    assert _push(sandbox, path, "--date", "2099-01-01", *day).code == 0
    assert sandbox.accepted.total() == 2
    again = _push(sandbox, path, "--date", "2099-01-01", *day, "--reason", "Delivery of a parcel")
    assert again.code == 2
    assert "was pushed already" in again.err


def test_standard_input_any_number_of_times(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that was not sent is kept in the state, and can be pushed from there."""
    monkeypatch.chdir(tmp_path)
    lists = [write_jsonl(tmp_path / "x", count).read_bytes() for count in (600, 3, 4)]
    (tmp_path / "x").unlink()
    sandbox.set_outage("token", status=500)
    stopped = _push(sandbox, "-", "--give-up-after", "0", stdin=lists[0])
    assert stopped.code == 3
    assert "calls push stdin.push" in stopped.out
    sandbox.end_outage("token")
    resumed = _push(sandbox, "stdin.push")
    again = _push(sandbox, "-", stdin=lists[0])

    assert (resumed.code, again.code) == (0, 0), resumed
    assert sandbox.accepted.total() == 600
    assert invoke(sandbox, "calls", "results", "-", "--output", "-").out.count("acknowledged") == 600
    assert {it.name for it in tmp_path.iterdir()} == {"stdin.push"}
    assert _push(sandbox, "-", "--state", "b.push", stdin=lists[1]).code == 0
    assert stat.S_IMODE((tmp_path / "stdin.push").stat().st_mode) == 0o600
    sandbox_total = sandbox.accepted.total()
    assert _push(sandbox, "-", "--check", stdin=lists[2]).code == 0
    assert sandbox.accepted.total() == sandbox_total


@pytest.mark.parametrize("runs", [1, 3])
def test_an_outage_loses_nothing(sandbox: Sandbox, tmp_path: Path, runs: int) -> None:
    """Run again and again by cron while the API answers 503, nothing is in doubt; then everything is sent."""
    path = write_csv(tmp_path / "in.csv", 2000)
    sandbox.set_outage("api", status=503)
    for _ in range(runs):
        stopped = _push(sandbox, path, "--give-up-after", "0", "--json")
        assert stopped.code == 3
        assert _facts(stopped)["unsent"] == 2000
        assert "503" in stopped.err
    sandbox.end_outage("api")
    assert _push(sandbox, path).code == 0
    assert sandbox.accepted.total() == 2000


def test_records_in_doubt(sandbox: Sandbox, tmp_path: Path) -> None:
    """They are named with the command that sends them once more."""
    path = write_csv(tmp_path / "in.csv", 700)
    sandbox.fail_next("batch", drop="after")
    done = _push(sandbox, path)

    assert done.code == 1
    assert "500 records may have been taken or not, since the answer was lost: to send them once more, " in done.out
    assert f"calls push --send-unknown {path}" in done.out
    assert "unknown: the answer was lost" in done.err
    again = _push(sandbox, path, "--send-unknown")
    assert again.code == 0
    assert sandbox.accepted.total() == 1200  # the API keeps a record by its pair and window


def test_some_rows_are_invalid(sandbox: Sandbox, tmp_path: Path) -> None:
    """Nothing is sent, the rejects have the reasons, and --skip-invalid sends the others."""
    path = write_csv(tmp_path / "in.csv", [line(0), "a,b", line(2)])
    refused = _push(sandbox, path)
    assert (refused.code, sandbox.mints) == (2, 0)
    assert refused.err.splitlines()[-1] == (
        "error: nothing was sent: correct these records, or leave them out with --skip-invalid"
    )
    assert refused.err.startswith("invalid: has 2 cells, and the header has 5 (1 record, line 3)")
    assert invoke(None, "calls", "rejects", path, "--output", tmp_path / "r.csv").code == 0
    assert [row["push_outcome"] for row in _rows(tmp_path / "r.csv")] == ["unsent", "invalid", "unsent"]

    skipped = _push(sandbox, path, "--skip-invalid", "--json")
    facts = _facts(skipped)
    assert (skipped.code, facts["acknowledged"], facts["invalid"]) == (1, 2, 1)
    mended = write_csv(path, [line(0), line(1), line(2)])
    assert _push(sandbox, mended).code == 0


def test_a_wrong_label_is_found_before_anything_is_sent(sandbox: Sandbox, tmp_path: Path) -> None:
    """The labels of the list are compared with those of the account; a name will do."""
    path = write_csv(tmp_path / "in.csv", [*(line(at) for at in range(5)), line(5, label="Flower shp")])
    refused, checked = _push(sandbox, path), _push(sandbox, path, "--check")
    assert (refused.code, checked.code) == (2, 2)
    for ended in (refused, checked):
        assert "the account has no label 'Flower shp' (in 1 record, first in line 7)" in ended.err
    assert sandbox.accepted.total() == 0
    write_csv(path, [line(at, label="flower SHOP") for at in range(5)])
    assert _push(sandbox, path).code == 0
    assert sandbox.accepted.total() == 5


def test_one_wrong_record_is_found_by_cutting(sandbox: Sandbox, tmp_path: Path) -> None:
    """A label that the account lists but the endpoint refuses costs one record, and its reason is told."""
    label = sandbox.add_label("Static", label_type="static")
    path = write_csv(tmp_path / "in.csv", [line(at, label=label if at == 321 else LABEL) for at in range(600)])
    done = _push(sandbox, path, "--json")
    facts = _facts(done)

    assert (done.code, facts["acknowledged"], facts["refused"]) == (1, 599, 1)
    assert "label_id must be a dynamic label" in done.err
    assert "(1 record)" in done.err
    reasons = facts["reasons"]
    assert isinstance(reasons, list)
    assert [(it["outcome"], it["records"]) for it in reasons] == [("refused", 1)]


def test_wrong_credentials_are_a_setting(sandbox: Sandbox, tmp_path: Path) -> None:
    """A loop on exit code 3 would never end."""
    path = write_csv(tmp_path / "in.csv", 3)
    sandbox.set_outage("token", status=401)
    assert _push(sandbox, path).code == 2
    assert invoke(sandbox, "labels", "list").code == 2


def test_settings_from_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """The command line wins over the file, and a word that is no option is named."""
    path = tmp_path / "in.csv"
    path.write_text("Mobile,Order\n9812300001,1\n")
    desk = tmp_path / "desk.toml"
    desk.write_text(
        'ignore-extra = true\ncountry = "IN"\ncaller = "+911234567890"\nlabel = "none"\ndate = "tomorrow"\n'
        'window = "10:00-18:00"\ntimezone = "Asia/Kolkata"\n[column]\nreceiver_number = "Mobile"\n'
    )
    assert _push(sandbox, path, "--settings", desk, "--label", "Flower shop").code == 0
    assert list(sandbox.accepted) == [919812300001]
    desk.write_text('contry = "IN"\n')
    wrong = _push(sandbox, path, "--settings", desk)
    assert (wrong.code, "contry is not an option" in wrong.err) == (2, True)


def _check(*arguments: str | Path, stdin: bytes = b"") -> Ended:
    return _push(None, "--check", *arguments, stdin=stdin)


def test_check_writes_nothing(tmp_path: Path) -> None:
    """It needs no credentials, and says that the account was not looked at."""
    path = write_csv(tmp_path / "in.csv", 1200)
    code, out, err = _check(path)

    assert (code, err) == (0, "")
    assert out.startswith("1,200 records: 1,200 valid, 0 invalid\n")
    assert "the account was not looked at" in out
    assert list(tmp_path.iterdir()) == [path]


def test_check_of_a_bad_list(tmp_path: Path) -> None:
    """Problems are counted by reason, with the first lines of each."""
    path = write_csv(tmp_path / "in.csv", [*(line(at, ends_in=-1) for at in range(1000)), line(1000), "x,y"])
    code, out, _ = _check(path)

    assert code == 2
    assert "ends_at: lies in the past: the window has closed: 1,000 records, lines 2, 3, 4, …" in out
    assert "has 2 cells" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["none.csv"],
        ["."],
        ["a.csv", "--label", "x", "--no-label"],
        ["a.csv", "--column", "x"],
        ["a.csv", "--column", "x=y"],
        ["a.csv", "--until", "noon"],
        ["a.csv", "--give-up-after", "soon"],
        ["a.csv", "--timezone", "Mars/Phobos"],
        ["a.csv", "--date", "tomorrow"],
        ["a.csv", "--state", "a.csv"],
        ["a.csv", "--state", "d"],
        ["a.csv", "--state", "pipe"],
        ["a.csv", "--state", "none/a.push"],
        ["pipe"],
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_wrong_settings(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], as_json: bool
) -> None:
    """One line says what to do, and --json is one document then as well; nothing is sent or overwritten."""
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "a.csv", [line(0)])
    before = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "d").mkdir()
    os.mkfifo(tmp_path / "pipe")
    code, out, err = _push(sandbox, *arguments, *(["--json"] if as_json else []))

    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert (json.loads(out)["error"] in err) if as_json else out == ""
    assert sandbox.accepted.total() == 0
    assert (tmp_path / "a.csv").read_bytes() == before
    assert {it.name for it in tmp_path.iterdir()} == {"a.csv", "d", "pipe"}


def test_states_that_cannot_be_trusted(sandbox: Sandbox, tmp_path: Path) -> None:
    """An emptied, cut, foreign or newer state: nothing is sent, and it stays as it is."""
    path = write_csv(tmp_path / "in.csv", 3)
    state = tmp_path / "in.csv.push"
    assert _push(sandbox, path).code == 0
    good = state.read_bytes()
    newer = bytearray(good)
    newer[60:64] = (9).to_bytes(4, "big")
    for content in (b"", good[:100], good[: len(good) // 2], b"mine", bytes(newer)):
        state.write_bytes(content)
        refused = _push(sandbox, path)
        assert refused.code == 2
        assert "nothing is sent" in refused.err
        assert state.read_bytes() == content
    assert sandbox.accepted.total() == 3


def test_nothing_of_a_users_is_overwritten(sandbox: Sandbox, tmp_path: Path) -> None:
    """An export takes the place of an export only."""
    path = write_csv(tmp_path / "in.csv", 3)
    assert _push(sandbox, path).code == 0
    mine = tmp_path / "customers.csv"
    mine.write_text("name\nA\n")
    refused = invoke(None, "calls", "results", path, "--output", mine)
    assert (refused.code, "is not replaced" in refused.err) == (2, True)
    assert mine.read_text() == "name\nA\n"
    assert invoke(None, "calls", "results", path, "--output", path).code == 2
    for form in ("csv", "jsonl"):
        for _ in range(2):
            assert invoke(None, "calls", "results", path, "--format", form).code == 0
    rows = [json.loads(text) for text in (tmp_path / "in.csv.results.jsonl").read_text().splitlines()]
    assert rows[0]["push_outcome"] == "acknowledged"
    assert rows[0]["receiver_number"] == number(0)
    assert stat.S_IMODE((tmp_path / "in.csv.results.csv").stat().st_mode) == 0o600


def test_results_need_the_list_as_it_was(sandbox: Sandbox, tmp_path: Path) -> None:
    """Another list of the same name would give each row a false outcome."""
    path = write_csv(tmp_path / "in.csv", 3)
    assert _push(sandbox, path).code == 0
    write_csv(path, 4)
    refused = invoke(None, "calls", "results", path)
    assert (refused.code, "not the file that was pushed" in refused.err) == (2, True)


def test_formulas_are_harmless(tmp_path: Path, sandbox: Sandbox) -> None:
    """A spreadsheet reads the exports as text, and a reader of ours gets the same text back."""
    path = tmp_path / "in.csv"
    path.write_text(f"{HEADER},dynamic_label_name,x\n{line(0)},-Shop,=HYPERLINK(1)\n{line(1)},Shop,@x\n")
    assert _push(sandbox, path, "--ignore-extra").code == 0
    assert invoke(None, "calls", "results", path).code == 0
    rows = _rows(tmp_path / "in.csv.results.csv")
    assert [row["x"] for row in rows] == ["'=HYPERLINK(1)", "'@x"]
    assert [row["dynamic_label_name"] for row in rows] == ["'-Shop", "Shop"]
    assert rows[0]["receiver_number"] == number(0)


@pytest.mark.parametrize("text", ["=1", "+1", "-a", "@a", " =1", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_formula_after_other_characters(text: str) -> None:
    """A formula is made harmless whatever characters precede it."""
    assert without_formula(text)[0] in "'\\"


def test_the_template_can_be_pushed(sandbox: Sandbox, tmp_path: Path) -> None:
    """What `calls template` prints is a list without a problem, but for the label's name."""
    path = tmp_path / "in.csv"
    path.write_text(invoke(None, "calls", "template").out.replace("NAME OR ID OF A LABEL", "Flower shop"))
    assert _push(sandbox, path).code == 0


def test_a_state_of_another_account(sandbox: Sandbox, tmp_path: Path) -> None:
    """A push that is not finished goes on at the account that it was begun with."""
    path = write_csv(tmp_path / "in.csv", 20)
    assert _push(sandbox, path, "--limit", "10").code == 0
    with sandbox_in_a_thread() as other:
        refused = _push(other, path)
        assert (refused.code, "another account" in refused.err) == (2, True)
        assert other.accepted.total() == 0
    with open_state(tmp_path / "in.csv.push") as state:
        facts = state.facts
    create_state(tmp_path / "copy.push", facts)  # a state that has sent nothing


def test_standard_input_is_kept_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Standard input is copied as it is; a full disk is reported."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"a,b\n1,2\n"))))
    with (tmp_path / "copy").open("w+b") as file:
        copy_stdin(file)
        source = Source(file, tmp_path / "copy", "standard input", SourceOptions())
        assert [row.cells for row in source.rows()] == [{"a": "1", "b": "2"}]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x" * 10_000)))
    with contextlib.suppress(OSError), Path("/dev/full").open("wb") as full:
        with pytest.raises(ConfigurationError, match="standard input cannot be kept"):
            copy_stdin(full)
