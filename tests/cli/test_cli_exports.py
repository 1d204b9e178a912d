"""Export results and rejects of a push, mend the rejects, and push them again."""

from __future__ import annotations

import csv
import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from truecaller_vbc.cli.calls.exports import without_formula
from truecaller_vbc.sandbox import Sandbox

from .cli_runner import invoke, sandbox_in_a_thread
from .record_files import CALLER, HEADER, LABEL, line, number, read_results, write_csv

TOLD = ["push_line", "push_outcome", "push_reason", "push_batch_id"]
WINDOW = ("--date", "tomorrow", "--window", "10:00-18:00", "--timezone", "Asia/Kolkata")
CRM = ("--column", "receiver_number=Mobile", "--ignore-extra", "--caller", CALLER, "--label", LABEL, *WINDOW)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


def test_results(sandbox: Sandbox, tmp_path: Path) -> None:
    """Each row is there with its outcome, its batch and its own cells as they were, for the owner only."""
    path = tmp_path / "crm.csv"
    cells = ["Asha, the first\nof two", "=HYPERLINK(1)", "-12.50", "@x", "'+1", "\u0905\u0936\u093e"]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["name", "formula", "balance", "at", "mark", "hindi", "Mobile"], [*cells, number(1)], [*cells, "none"]]
        )
    pushed = invoke(sandbox, "calls", "push", path, *CRM, "--skip-invalid")
    written = invoke(sandbox, "calls", "results", path)
    as_json = invoke(sandbox, "calls", "results", path, "--output", "-", "--format", "jsonl")

    assert (pushed.code, written.code) == (1, 0)
    target = tmp_path / "crm.csv.results.csv"
    assert written.out == f"2 records: {target}\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes().startswith(b"\xef\xbb\xbfpush_line,")
    first, second = read_results(target)
    safe = [cells[0], "'=HYPERLINK(1)", "-12.50", "'@x", "'+1", cells[5]]
    assert list(first.values()) == ["2", "acknowledged", "", next(iter(sandbox.batches)), *safe, number(1)]
    assert list(second.values())[:4] == ["4", "invalid", "receiver_number: 'none' is no phone number", ""]
    told = [json.loads(text) for text in as_json.out.splitlines()]
    assert list(told[0]) == [*TOLD, "name", "formula", "balance", "at", "mark", "hindi", "Mobile"]
    assert list(told[0].values())[4:] == [*cells, number(1)]


@pytest.mark.parametrize(("delimiter", "options"), [(",", ()), (";", ("--delimiter", ";")), ("|", ())])
def test_rejects_are_mended_and_pushed(
    sandbox: Sandbox, tmp_path: Path, delimiter: str, options: tuple[str, ...]
) -> None:
    """The rows that were not taken come back with all columns; mended, they go out with the same options."""
    path = tmp_path / "crm.csv"
    rows = [["customer", "Mobile"], ["=A1", "98"], ["Bela", number(1)], ["", "?"]]
    path.write_text("".join(delimiter.join(row) + "\n" for row in rows))
    refused = invoke(sandbox, "calls", "push", path, *CRM, *options)
    sent = invoke(sandbox, "calls", "push", path, *CRM, *options, "--skip-invalid")
    invoke(sandbox, "calls", "rejects", path)
    rejects = tmp_path / "crm.csv.rejects.csv"
    text = rejects.read_text("utf-8-sig")
    found = list(csv.DictReader(io.StringIO(text), delimiter=delimiter if options else ","))
    rejects.write_text(text.replace("98", number(7)).replace("?", number(8)), encoding="utf-8-sig")
    mended = invoke(sandbox, "calls", "push", rejects, *CRM, *options)

    assert (refused.code, sent.code) == (2, 1)
    assert [(row["push_line"], row["customer"]) for row in found] == [("2", "'=A1"), ("4", "")]
    assert all(row["push_outcome"] == "invalid" and "receiver_number" in row["push_reason"] for row in found)
    assert (mended.code, mended.err) == (0, "")
    assert sorted(sandbox.accepted) == sorted(int(number(at)) for at in (1, 7, 8))


def test_rejects_of_each_outcome(sandbox: Sandbox, tmp_path: Path) -> None:
    """Invalid, refused, unsent and failed rows are rejects; those in doubt only if they are asked for."""
    path = write_csv(tmp_path / "in.csv", [*(line(at) for at in range(1500)), "x"])
    sandbox.set_outcome(number(0), "Failed to push")
    assert invoke(sandbox, "calls", "push", path, "--skip-invalid", "--limit", "500").code == 0
    sandbox.fail_next("batch", drop="after")
    sandbox.set_outage("labels", status=403)
    invoke(sandbox, "calls", "push", path, "--skip-invalid", "--limit", "500")
    invoke(sandbox, "calls", "outcomes", path)

    def exported(*options: str) -> dict[str, int]:
        text = invoke(sandbox, "calls", "rejects", path, "--output", "-", *options).out
        counts: dict[str, int] = {}
        for row in csv.DictReader(io.StringIO(text)):
            counts[row["push_outcome"]] = counts.get(row["push_outcome"], 0) + 1
            assert (row["push_reason"] != "") == (row["push_outcome"] != "unsent"), row
        return counts

    without, with_unknown = exported(), exported("--with-unknown")
    unknown = with_unknown.pop("unknown")
    assert without == with_unknown
    assert (without["failed"], without["invalid"]) == (1, 1)
    assert 0 < unknown <= 500
    assert without["unsent"] + unknown <= 1000


def test_json_with_other_names_in_each_object(sandbox: Sandbox, tmp_path: Path) -> None:
    """The columns of the export are the names of all objects, also of the last one."""
    path = tmp_path / "in.jsonl"
    objects = [{"Mobile": number(at)} for at in range(120)]
    objects[119] |= {"note": "\ud800 last", "tags": ["a", 1]}  # type: ignore[dict-item]
    path.write_text("".join(json.dumps(it) + "\n" for it in objects))
    pushed = invoke(sandbox, "calls", "push", path, *CRM)
    invoke(sandbox, "calls", "results", path)

    assert pushed.code == 0, pushed
    last = read_results(tmp_path / "in.jsonl.results.csv")[-1]
    assert (last["note"], last["tags"]) == ("\\ud800 last", '["a", 1]')


def test_bytes_that_are_not_text(sandbox: Sandbox, tmp_path: Path) -> None:
    """They come back as they are, to be mended."""
    path = tmp_path / "in.csv"
    path.write_bytes(f"{HEADER},note\n{line(1)},Caf\xe9\n".encode("latin-1"))
    invoke(sandbox, "calls", "push", path, "--ignore-extra")
    exported = invoke(sandbox, "calls", "rejects", path)

    assert exported.code == 0
    assert b",Caf\xe9\n" in (tmp_path / "in.csv.rejects.csv").read_bytes()


def test_nothing_of_others_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    """Only an export of ours is replaced, and rejects that may have been mended are kept under another name."""
    path = write_csv(tmp_path / "in.csv", [line(0), "x"])
    invoke(sandbox, "calls", "push", path)
    target = tmp_path / "in.csv.rejects.csv"
    target.write_text("customers\n")
    foreign = invoke(sandbox, "calls", "rejects", path)
    on_input = invoke(sandbox, "calls", "rejects", path, "--output", path)
    target.unlink()
    invoke(sandbox, "calls", "rejects", path)
    exported = target.read_bytes()
    invoke(sandbox, "calls", "rejects", path)
    assert not (tmp_path / "in.csv.rejects.csv.1").exists()
    target.write_bytes(exported.replace(b"x", b"mended"))
    invoke(sandbox, "calls", "rejects", path)
    of_itself = invoke(sandbox, "calls", "push", target)
    on_rejects = invoke(sandbox, "calls", "rejects", target, "--output", target)

    for refused in (foreign, on_input, on_rejects):
        assert refused.code == 2
        assert "is not replaced: name another with --output" in refused.err
    assert of_itself.code == 2
    assert target.read_bytes() == exported
    assert (tmp_path / "in.csv.rejects.csv.1").read_bytes() == exported.replace(b"x", b"mended")


def test_input_that_was_changed(sandbox: Sandbox, tmp_path: Path) -> None:
    """Outcomes are never written beside rows of another input."""
    path = write_csv(tmp_path / "in.csv", 3)
    invoke(sandbox, "calls", "push", path)
    write_csv(path, 4)
    exported = invoke(sandbox, "calls", "results", path)

    assert exported.code == 2
    assert "was changed since" in exported.err
    assert not (tmp_path / "in.csv.results.csv").exists()


def test_standard_input(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came from a pipe is exported from its state, by either name."""
    monkeypatch.chdir(tmp_path)
    raw = write_csv(tmp_path / "in.csv", 2).read_bytes()
    pushed = invoke(sandbox, "calls", "push", "-", stdin=raw)
    by_state = invoke(sandbox, "calls", "results", "stdin.push", "--output", "-")
    by_dash = invoke(sandbox, "calls", "results", "-", "--output", "-")

    assert "truecaller-vbc calls outcomes stdin.push" in pushed.out
    assert by_state.out.count("acknowledged") == 2
    assert by_dash == by_state


@pytest.mark.parametrize("text", ["=1+1", " =1+1", "+1+1", "-1-1", "@x", "\uff1d1", "\t=1", "--1"])
def test_formulas(text: str) -> None:
    """Text that a spreadsheet would compute gets an apostrophe."""
    assert without_formula(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "+919812300001", "-12.50", "1", "a=b", "'=1", "Asha\n=1"])
def test_no_formulas(text: str) -> None:
    """Numbers and other text stay as they are."""
    assert without_formula(text) == text
