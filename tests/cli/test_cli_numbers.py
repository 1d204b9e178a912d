"""Run `numbers` and `labels`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from truecaller_vbc.sandbox import Sandbox

from .cli_runner import invoke, sandbox_in_a_thread
from .record_files import LABEL


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


SET = "069d2e3a-41e6-41f9-a768-157d7e3bd6b9"
ONE, TWO = "+911234567801", "+911234567802"


def test_publish_list_and_delist(sandbox: Sandbox, tmp_path: Path) -> None:
    """Numbers are read from a file or standard input, with a BOM, blank lines and repetitions."""
    path = tmp_path / "numbers.txt"
    path.write_text(f"\ufeff{ONE}\r\n\r\n {TWO} \n{ONE}\n")
    published = invoke(sandbox, "numbers", "publish", SET, path)
    again = invoke(sandbox, "numbers", "publish", SET, path, "--json")
    listed = invoke(sandbox, "numbers", "list", "--feature-set", SET)
    delisted = invoke(sandbox, "numbers", "delist", SET, "-", stdin=ONE.encode())

    assert (published.code, published.out) == (0, "2 accepted\n")
    assert again.code == 0
    assert json.loads(again.out)["result"]["already_listed"] == [ONE, TWO]
    rows = [line.split()[:2] for line in listed.out.splitlines()]
    assert rows[0] == ["number", "status"]
    assert sorted(rows[1:]) == [[ONE, "listed"], [TWO, "listed"]]
    assert "\x1b" not in listed.out
    assert (delisted.code, delisted.out) == (0, "1 accepted\n")
    everything = invoke(sandbox, "numbers", "list", "--json")
    assert [number["phone_number"] for number in json.loads(everything.out)] == [TWO]


def test_numbers_that_are_not_accepted(sandbox: Sandbox) -> None:
    """Each number that was not accepted is printed with the reason, with exit code 1."""
    other = sandbox.add_feature_set("Other")
    assert (invoke(sandbox, "numbers", "publish", other, "-", stdin=ONE.encode())).code == 0
    some = invoke(sandbox, "numbers", "publish", SET, "-", stdin=f"{ONE}\n{TWO}".encode())
    none = invoke(sandbox, "numbers", "publish", SET, "-", "--json", stdin=ONE.encode())

    assert some.code == 1
    assert some.out.splitlines()[-1].split() == [ONE, "in", "other", "set"]
    assert none.code == 1
    assert json.loads(none.out)["result"]["in_other_set"] == [ONE]
    assert none.err.startswith("error: none of the 1 numbers was taken")


def test_feature_sets_and_labels(sandbox: Sandbox) -> None:
    """Lists are printed as tables or as JSON, without escape codes outside of a terminal."""
    label = sandbox.add_label("Shop [red]\x1b[2J")
    sets = invoke(sandbox, "numbers", "feature-sets")
    labels = invoke(sandbox, "labels", "list")
    documents = [invoke(sandbox, *command, "--json") for command in (("numbers", "feature-sets"), ("labels", "list"))]

    assert sets.code == labels.code == 0
    assert sets.out.splitlines()[1].startswith(SET)
    row = next(line for line in labels.out.splitlines() if line.startswith(label))
    assert "Shop [red]\\x1b[2J  dynamic" in row
    assert "\x1b" not in labels.out
    assert [it["id"] for it in json.loads(documents[0].out)] == [SET]
    assert {it["id"] for it in json.loads(documents[1].out)} >= {label, LABEL}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{ONE}\n12\n\n{ONE[1:]}", ["line 2: '12' is no phone number", f"line 4: '{ONE[1:]}' is not in E.164"]),
        (" \n", ["there are no numbers"]),
        ("x\n" * 30, ["line 20: 'x' is no phone number", "and 10 more lines"]),
        (f"{ONE}{' ' * 300}{TWO}", ["line 1: ", "is not in E.164"]),
        ("\x1b[2J", ["line 1: '\\x1b[2J' is no phone number"]),
    ],
)
def test_invalid_numbers(text: str, words: list[str]) -> None:
    """Invalid numbers are reported by line before anything is sent, without credentials."""
    result = invoke(None, "numbers", "publish", SET, "-", stdin=text.encode())

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    for word in words:
        assert word in result.err


@pytest.mark.slow
def test_errors(sandbox: Sandbox) -> None:
    """Each error is one line that says what to do, with exit code 2 for settings and 3 for what may work later."""
    sandbox.set_outage("labels", status=403)
    sandbox.set_outage("numbers", drop="before")
    results = [
        invoke(sandbox, "numbers", "publish", "no/id", "-", stdin=ONE.encode()),
        invoke(sandbox, "numbers", "list", "--store", "ftp://x"),
        invoke(None, "labels", "list"),
        invoke(sandbox, "labels", "list"),
        invoke(sandbox, "numbers", "list"),
    ]

    assert [result.code for result in results] == [2, 2, 2, 2, 3]
    for result in results:
        assert result.out == ""
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1, result.err
    assert "check the network" in results[4].err
