"""Options of the `calls` commands: settings files, durations, states that are listed and pruned."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from truecaller_vbc.sandbox import Sandbox

from .cli_runner import invoke, sandbox_in_a_thread
from .record_files import CALLER, HOUR, LABEL, number, write_csv

DESK = f"""
country = "IN"
caller = "{CALLER}"
label = "Shop"
date = "tomorrow"
window = "10:00-18:00"
timezone = "Asia/Kolkata"
ignore_extra = true
give-up-after = "5m"
rate = 30

[column]
receiver_number = "Mobile"
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


@pytest.fixture
def crm(tmp_path: Path) -> Path:
    """A list as a CRM exports it, and the desk's settings."""
    (tmp_path / "desk.toml").write_text(DESK)
    path = tmp_path / "crm.csv"
    path.write_text("Customer;Mobile\nAsha;98000 00019\n")
    return path


def test_settings(sandbox: Sandbox, crm: Path) -> None:
    """The options stand in a file, for all commands; the command line wins, also over what it contradicts."""
    settings = ("--settings", crm.with_name("desk.toml"))
    sandbox.add_label("Shop")
    checked = invoke(sandbox, "calls", "push", crm, "--check", *settings)
    now = int(time.time() * 1000)
    other = ("--label", LABEL, "--starts-at", str(now - HOUR), "--ends-at", str(now + HOUR))
    overridden = invoke(sandbox, "calls", "push", crm, "--check", *settings, *other)
    without_label = invoke(sandbox, "calls", "push", crm, "--check", *settings, "--no-label")
    pushed = invoke(sandbox, "calls", "push", crm, *settings)
    asked = invoke(sandbox, "calls", "outcomes", crm, *settings)

    assert f"{CALLER} calls +919800000019" in checked.out
    assert '10:00 to 18:00 (Asia/Kolkata), label "Shop"' in checked.out
    assert "at 30 a minute" in checked.out
    assert "10:00 to 18:00" not in overridden.out
    assert '(Asia/Kolkata), label "Flower shop"' in overridden.out
    assert "without a label" in without_label.out
    assert (pushed.code, asked.code) == (0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cuontry = 'IN'", "cuontry is not an option; there are api-version, base-url, caller,"),
        ("settings = 'x'", "settings is not an option"),
        ("send-unknown = true", "send-unknown is not an option"),
        ("file = 'x'", "file is not an option"),
        ("country = IN", "cannot be read"),
        ("caller = ['a']", "caller takes one value"),
        ("rate = 'many'", "--rate"),
        ("give-up-after = 'long'", "--give-up-after long: write seconds, or a time such as 30m or 1h"),
        ("until = 'noon'", "--until noon"),
        ("column = ['Mobile']", "write FIELD=COLUMN"),
    ],
)
def test_wrong_settings(crm: Path, text: str, words: str) -> None:
    """What is wrong is named, with exit code 2 and as a document."""
    crm.with_name("desk.toml").write_text(text)
    ended = invoke(None, "calls", "push", crm, "--settings", crm.with_name("desk.toml"), "--json")

    assert ended.code == 2
    assert words in json.loads(ended.out)["error"]


def test_settings_that_are_missing(crm: Path) -> None:
    """A file that is not there is an error, not an empty one."""
    ended = invoke(None, "calls", "push", crm, "--settings", crm.with_name("none.toml"))

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("none.toml cannot be read (No such file or directory): correct it\n")


def test_template_can_be_pushed(sandbox: Sandbox, tmp_path: Path) -> None:
    """The template is a list that needs only a label."""
    path = tmp_path / "calls.csv"
    text = invoke(None, "calls", "template").out
    path.write_text(text.replace("NAME OR ID OF A LABEL", LABEL))

    assert invoke(sandbox, "calls", "push", path).code == 0
    assert sandbox.accepted.total() == 2


def test_list_and_prune(sandbox: Sandbox, tmp_path: Path) -> None:
    """States are listed with what became of them; only old ones that were set aside are deleted."""
    path = write_csv(tmp_path / "in.csv", 2)
    for records in (2, 3):
        write_csv(path, records)
        assert invoke(sandbox, "calls", "push", path).code == 0
    aside = next(it for it in tmp_path.iterdir() if ".push.2" in it.name)
    others = {
        "in.csv.push.copy": aside.read_bytes(),
        "x.csv.push.2020-01-01": b"not a state",
        "in.csv": path.read_bytes(),
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    listed = invoke(None, "calls", "list", tmp_path)
    known = json.loads(invoke(None, "calls", "list", tmp_path, "--json").out)
    kept = invoke(None, "calls", "prune", tmp_path, "--older-than", "7")
    old = time.time() - 8 * 86_400
    for name in (aside.name, *others, "in.csv.push"):
        os.utime(tmp_path / name, (old, old))
    pruned = invoke(None, "calls", "prune", tmp_path, "--older-than", "7")

    assert listed.out.count(" acknowledged") == 3
    assert {(it["state"], it["acknowledged"]) for it in known} == {
        (str(aside), 2),
        (f"{path}.push.copy", 2),
        (f"{path}.push", 3),
    }
    assert kept.out == ""
    assert pruned.out == f"deleted {aside}\n"
    assert {it.name for it in tmp_path.iterdir()} == {*others, "in.csv.push"}


def test_directory_that_is_missing(tmp_path: Path) -> None:
    """One line says so."""
    ended = invoke(None, "calls", "list", tmp_path / "none")

    assert ended.code == 2
    assert "cannot be listed" in ended.err


def test_wrong_feature_set(sandbox: Sandbox) -> None:
    """A wrong FEATURE_SET is named as that, with exit code 2."""
    ended = invoke(sandbox, "numbers", "publish", "none", "-", stdin=number(1).encode())

    assert ended.code == 2
    assert "the account has no feature set none: check FEATURE_SET" in ended.err
