"""Run `calls push` with a sandbox: options, inputs, results and errors."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from truecaller_vbc.cli.calls.report import without_formula
from truecaller_vbc.sandbox import Sandbox

from .cli_process import Ended
from .cli_runner import invoke, sandbox_in_a_thread
from .record_files import CALLER, HEADER, accepted_once, line, number, outcomes, read_results, write_csv, write_jsonl


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


@pytest.mark.slow
def test_file_twice(sandbox: Sandbox, tmp_path: Path) -> None:
    """1,001 records are three batches; a second run sends nothing, and prints the same."""
    path = write_csv(tmp_path / "in.csv", 1001)
    first = invoke(sandbox, "calls", "push", path)
    second = invoke(sandbox, "calls", "push", path)

    assert (first.code, first.err) == (0, "")
    assert first.out == f"1,001 records: 1,001 acknowledged\nresults: {path}.results.csv\n"
    assert second == first
    assert (len(sandbox.batches), sandbox.mints) == (3, 1)
    results = tmp_path / "in.csv.results.csv"
    accepted_once(read_results(results), sandbox.accepted)
    assert [row["line"] for row in read_results(results)] == [str(place) for place in range(2, 1003)]
    for name in ("in.csv.results.csv", "in.csv.journal", "in.csv.journal.lock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert str(sandbox.credentials.api_key) not in (tmp_path / "in.csv.journal").read_text()


def test_standard_input(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of standard input is kept until all of it was sent."""
    monkeypatch.chdir(tmp_path)
    raw = write_jsonl(tmp_path / "x", 600).read_bytes()
    (tmp_path / "x").unlink()
    sandbox.set_outage("token", status=500)
    stopped = invoke(sandbox, "calls", "push", "-", stdin=raw)

    assert stopped.code == 3
    assert "calls-push.journal.input as FILE and --journal calls-push.journal" in stopped.out
    kept = tmp_path / "calls-push.journal.input"
    assert kept.read_bytes() == raw
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600

    sandbox.end_outage("token")
    journal = ("--journal", "calls-push.journal", "--results", "r.jsonl")
    resumed = invoke(sandbox, "calls", "push", kept.name, *journal)
    again = invoke(sandbox, "calls", "push", "-", "--results", "r.jsonl", stdin=raw)
    assert (resumed.code, again.code) == (0, 0)
    assert sandbox.accepted.total() == 600
    assert not kept.exists()
    rows = [json.loads(text) for text in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "line": 1,
        "receiver_number": number(0),
        "outcome": "acknowledged",
        "batch_id": rows[0]["batch_id"],
        "error": "",
    }
    assert {row["batch_id"] for row in rows} == set(sandbox.batches)


def test_options_of_another_run(sandbox: Sandbox, tmp_path: Path) -> None:
    """A journal is refused with another input, or with options that would change what is sent."""
    path = write_csv(tmp_path / "in.csv", 10)
    assert (invoke(sandbox, "calls", "push", path)).code == 0
    other = invoke(sandbox, "calls", "push", path, "--api-version", "v2", "--no-label")
    read_otherwise = invoke(sandbox, "calls", "push", path, "--format", "jsonl")
    write_csv(path, 11)
    changed = invoke(sandbox, "calls", "push", path)

    assert other.code == changed.code == read_otherwise.code == 2
    assert "another format" in read_otherwise.err
    assert "api_version, no_label" in other.err
    assert "another input" in changed.err
    assert sandbox.accepted.total() == 10


def test_missing_labels(sandbox: Sandbox, tmp_path: Path) -> None:
    """A missing label is filled in or left out as the options say."""
    path = write_csv(tmp_path / "in.csv", [line(0, label="")])
    label = sandbox.add_label("Shop")
    filled = invoke(sandbox, "calls", "push", path, "--label-id", label, "--journal", tmp_path / "1")
    without = invoke(sandbox, "calls", "push", path, "--no-label", "--journal", tmp_path / "2", "--api-version", "v2")

    assert (filled.code, without.code) == (0, 1)
    assert "1 records: 1 refused" in without.out
    assert "label_id is required" in read_results(tmp_path / "in.csv.results.csv")[0]["error"]
    assert sandbox.accepted.total() == 1


def test_some_are_invalid(sandbox: Sandbox, tmp_path: Path) -> None:
    """With invalid records nothing is sent, unless --skip-invalid sends the others."""
    path = write_csv(tmp_path / "in.csv", [line(0), "a,b", line(2)])
    refused = invoke(sandbox, "calls", "push", path)
    assert (refused.code, sandbox.mints) == (2, 0)
    assert refused.err.splitlines() == [
        "line 3: has 2 cells, and the header has 5",
        "error: nothing was sent: correct these records, or leave them out with --skip-invalid",
    ]
    assert outcomes(tmp_path / "in.csv.results.csv") == {"unsent": 2, "invalid": 1}
    assert not (tmp_path / "in.csv.journal").exists()

    skipped = invoke(sandbox, "calls", "push", path, "--skip-invalid", "--json")
    facts = json.loads(skipped.out)
    assert (skipped.code, facts["exit_code"], facts["acknowledged"], facts["invalid"]) == (1, 1, 2, 1)
    assert facts["problems"] == [{"line": 3, "fault": "has 2 cells, and the header has 5"}]
    assert outcomes(tmp_path / "in.csv.results.csv") == {"acknowledged": 2, "invalid": 1}


def test_api_that_is_down(sandbox: Sandbox, tmp_path: Path) -> None:
    """If the API is down, one line says what to do, with exit code 3; everything is sent later."""
    path = write_csv(tmp_path / "in.csv", 10)
    sandbox.set_outage("token", status=503)
    stopped = invoke(sandbox, "calls", "push", path, "--json")

    assert stopped.code == 3
    assert stopped.err.startswith("error: ")
    assert stopped.err.count("\n") == 1
    facts = json.loads(stopped.out)
    assert (facts["unsent"], facts["resumable"]) == (10, True)
    assert facts["error"] in stopped.err
    sandbox.end_outage("token")
    assert (invoke(sandbox, "calls", "push", path)).code == 0


def test_results_that_cannot_be_written(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the results cannot be written, the exit code is 3, and the same command writes them later."""
    path = write_csv(tmp_path / "in.csv", 600)
    failed = invoke(sandbox, "calls", "push", path, "--results", tmp_path / ("r" * 250))  # its temporary name is longer
    again = invoke(sandbox, "calls", "push", path, "--results", tmp_path / "r")

    assert (failed.code, again.code) == (3, 0)
    assert "cannot be written" in failed.err
    assert "600 acknowledged" in failed.out
    assert outcomes(tmp_path / "r") == {"acknowledged": 600}
    assert sandbox.accepted.total() == 600


def _check(*arguments: str | Path, stdin: bytes = b"") -> Ended:
    return invoke(None, "calls", "push", "--check", *arguments, stdin=stdin)


def test_check_of_a_good_file(tmp_path: Path) -> None:
    """A check needs no credentials and writes nothing."""
    path = write_csv(tmp_path / "in.csv", 1200)

    assert _check(path) == (0, "1,200 records: no problem found\n", "")
    assert list(tmp_path.iterdir()) == [path]


def test_check_of_a_bad_file(tmp_path: Path) -> None:
    """A check prints the first twenty problems, and writes all to the results."""
    path = write_csv(tmp_path / "in.csv", [line(place, ends_in=-1) for place in range(1000)] + [line(1000)])
    code, out, err = _check(path)

    assert code == 2
    assert out.startswith("1,001 records: 1 unsent, 1,000 invalid\n")
    assert err.splitlines()[0] == "line 2: ends_at: lies in the past: the window has closed"
    assert err.splitlines()[20:] == [
        "and 980 more records with problems",
        "error: nothing was sent: correct these records, or leave them out with --skip-invalid",
    ]
    assert outcomes(tmp_path / "in.csv.results.csv") == {"invalid": 1000, "unsent": 1}


def test_check_of_an_unreadable_file(tmp_path: Path) -> None:
    """A check reports the line at which the input becomes unreadable."""
    path = write_csv(tmp_path / "in.csv", [line(0), '"open', line(1)])
    code, _, err = _check(path)

    assert code == 2
    assert "line 3: a quote is opened and never closed" in err
    assert err.endswith("error: nothing was sent: correct that line\n")
    assert [(row["line"], row["outcome"]) for row in read_results(tmp_path / "in.csv.results.csv")] == [
        ("2", "unsent"),
        ("3", "invalid"),
    ]


def test_check_of_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of standard input keeps no copy."""
    monkeypatch.chdir(tmp_path)

    assert _check("-", stdin=f"{HEADER}\n{line(0)}\n".encode())[0] == 0
    assert not list(tmp_path.iterdir())


def test_no_records(tmp_path: Path) -> None:
    """A CSV file needs a header, and may have no records; a JSON lines file may be empty."""
    assert _check(write_csv(tmp_path / "in.csv", 0))[:2] == (0, "0 records: no problem found\n")
    (tmp_path / "in.csv").write_text("")
    assert _check(tmp_path / "in.csv")[0] == 2
    (tmp_path / "in.jsonl").write_text("")
    assert _check(tmp_path / "in.jsonl")[0] == 0


def test_formulas_and_escape_codes_in_the_input(tmp_path: Path) -> None:
    """Formulas and escape codes in the input are made harmless in the output."""
    path = tmp_path / "in.jsonl"
    rows: list[dict[str, str]] = [
        {"receiver_number": "=HYPERLINK(1)"},
        {"receiver_number": "+1\x1b[2J", CALLER: "\x1b]"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = _check(path)

    assert code == 2
    assert "\x1b" not in err
    written = read_results(tmp_path / "in.jsonl.results.csv")
    assert [row["receiver_number"] for row in written] == ["'=HYPERLINK(1)", "'+1\\x1b[2J"]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", " =1", "\t=1", "\r=1", "\n=1", "\uff1d1"])
def test_formula_after_other_characters(text: str) -> None:
    """A formula is made harmless whatever characters precede it."""
    assert without_formula(text)[0] in "'\\"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.csv"], "none.csv cannot be read (No such file or directory)"),
        (["."], "cannot be read (Is a directory)"),
        (["a.csv", "--label-id", "x", "--no-label"], "contradict each other"),
        (["a.csv", "--results", "a.csv"], "must be different files"),
        (["a.csv", "--results", "a.csv.journal"], "must be different files"),
        (["a.csv", "--journal", "./a.csv"], "must be different files"),
        (["a.csv", "--results", "d/../a.csv"], "must be different files"),
        (["a.csv", "--results", "d/../a.csv.journal"], "must be different files"),
        (["link.csv", "--results", "a.csv"], "must be different files"),
        (["a.csv", "--results", "none/r.csv"], "name another place with --results"),
        (["a.csv", "--results", "d"], "no file: name another with --results"),
        (["a.csv", "--results", "pipe"], "no file: name another with --results"),
        (["pipe"], "is no regular file: give - and pipe it in"),
    ],
)
def test_wrong_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str) -> None:
    """Wrong settings print one line, with exit code 2."""
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "a.csv", ["x"])
    (tmp_path / "d").mkdir()
    (tmp_path / "link.csv").symlink_to("a.csv")
    os.mkfifo(tmp_path / "pipe")
    code, out, err = _check(*arguments)

    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1


def test_pipes_in_place_of_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """A pipe or device is refused as input, results or journal, and stays unchanged."""
    path = write_csv(tmp_path / "in.csv", 3)
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    pipe = invoke(sandbox, "calls", "push", tmp_path / "pipe")
    results = invoke(sandbox, "calls", "push", path, "--results", tmp_path / "pipe")
    journal = invoke(sandbox, "calls", "push", path, "--journal", tmp_path / "pipe")

    assert (pipe.code, results.code, journal.code) == (2, 2, 2)
    assert "give - and pipe it in" in pipe.err
    assert "--results" in results.err
    assert "--journal" in journal.err
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(tmp_path.iterdir()) == before
    assert not sandbox.accepted
