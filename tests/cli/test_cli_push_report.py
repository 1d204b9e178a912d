"""What a push says at its end and while it runs: exit codes, reasons, the next commands, the time left."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from truecaller_vbc.cli.calls import progress
from truecaller_vbc.cli.calls.progress import Bar
from truecaller_vbc.cli.calls.report import Report
from truecaller_vbc.errors import (
    ConfigurationError,
    CredentialsRejectedError,
    ForbiddenError,
    ServerError,
    TokenEndpointError,
    VBCError,
)
from truecaller_vbc.sandbox import Sandbox

from .cli_runner import invoke, sandbox_in_a_thread
from .record_files import CALLER, line, number, write_csv

NONE = dict.fromkeys(("success", "failed", "acknowledged", "refused", "unknown", "unsent", "invalid"), 0)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report(totals=NONE), 0),
        (Report(totals=NONE | {"acknowledged": 5}), 0),
        (Report(totals=NONE | {"success": 5}, waited=True), 0),
        (Report(totals=NONE | {"acknowledged": 5}, waited=True), 3),
        (Report(totals=NONE | {"acknowledged": 5, "unsent": 5}, limited=True), 0),
        (Report(totals=NONE | {"acknowledged": 5, "unsent": 5}), 3),
        (Report(totals=NONE | {"refused": 1}), 1),
        (Report(totals=NONE | {"unknown": 1}), 1),
        (Report(totals=NONE | {"invalid": 1}), 1),
        (Report(totals=NONE | {"failed": 1}, waited=True), 1),
        (Report(totals=NONE | {"unsent": 1, "invalid": 1}, refusal=True), 2),
        (Report(totals=NONE | {"unsent": 1}, interrupted=True), 130),
        (Report(totals=NONE | {"acknowledged": 1}, interrupted=True, waited=True), 130),
        (Report(totals=NONE | {"acknowledged": 1}, interrupted=True), 0),
        (Report(interrupted=True), 130),
        (Report(reason=ConfigurationError("x")), 2),
        (Report(totals=NONE | {"unsent": 1}, reason=CredentialsRejectedError("x")), 2),
        (Report(totals=NONE | {"unsent": 1}, reason=ForbiddenError("x", status=403)), 2),
        (Report(totals=NONE | {"unsent": 1}, reason=TokenEndpointError("x")), 3),
        (Report(totals=NONE | {"unsent": 1}, reason=ServerError("x", status=503)), 3),
        (Report(reason=VBCError("x")), 3),
    ],
)
def test_exit_code(report: Report, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code says whether to run it again, to correct something, or to look; --json has it as well."""
    report.print(as_json=True)

    assert report.exit_code == code
    assert json.loads(capsys.readouterr().out)["exit_code"] == code


def _command(text: str, start: str) -> list[str]:
    """Return the arguments of the command that a line recommends."""
    found = next(it for it in text.splitlines() if start in it)
    program, *arguments = shlex.split(found[found.index("truecaller-vbc") :])
    assert program == "truecaller-vbc"
    return arguments


def test_recommended_commands_can_be_copied(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command that is recommended is complete: with the options of the push, quoted, and it works."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my 'list' $1.csv"
    path.write_text("Mobile;note\n" + "".join(f"{number(at)};x\n" for at in range(12)))
    window = ("--date", "tomorrow", "--window", "10:00-18:00", "--timezone", "Asia/Kolkata")
    options = ("--column", "receiver_number=Mobile", "--ignore-extra", "--caller", CALLER, "--label", "Shop", *window)
    sandbox.add_label("Shop")
    sandbox.set_outcome(number(3), "Failed to push")
    limited = invoke(sandbox, "calls", "push", path.name, *options, "--limit", "5", "--state", "the state")
    rest = invoke(sandbox, *_command(limited.out, "7 records not sent"))
    rest = invoke(sandbox, *_command(rest.out, "2 records not sent"))
    outcomes = invoke(sandbox, *_command(rest.out, "calls outcomes"))
    rejects = invoke(sandbox, *_command(outcomes.out, "calls rejects"))

    assert (limited.code, rest.code, outcomes.code, rejects.code) == (0, 0, 1, 0)
    assert rest.out.startswith("12 records: 12 acknowledged\n")
    assert rejects.out.startswith("1 record: ")


def test_records_in_doubt(sandbox: Sandbox, tmp_path: Path) -> None:
    """What is in doubt is said with the command that sends it once more."""
    path = write_csv(tmp_path / "in.csv", 3)
    sandbox.fail_next("batch", drop="before")
    first = invoke(sandbox, "calls", "push", path)
    again = invoke(sandbox, *_command(first.out, "--send-unknown"))

    assert first.code == 1
    assert "3 records may have been taken or not" in first.out
    assert first.err.startswith("unknown: the answer was lost")
    assert (again.code, sandbox.accepted.total()) == (0, 3)


def test_reasons(sandbox: Sandbox, tmp_path: Path) -> None:
    """Problems are counted by reason, with the first lines of each, on standard error and in the document."""
    lines = [line(at, ends_in=-1000) for at in range(30)]
    lines[25] = line(25).replace(number(25), "abc")
    path = write_csv(tmp_path / "in.csv", lines)
    shown = invoke(sandbox, "calls", "push", path)
    document = invoke(sandbox, "calls", "push", path, "--json")

    assert shown.code == document.code == 2
    assert len(shown.err.splitlines()) <= 8
    assert "(29 records, lines 2, 3, 4, …)" in shown.err.splitlines()[0]
    assert "(1 record, line 27)" in shown.err.splitlines()[1]
    assert shown.err.splitlines()[-1].startswith("error: nothing was sent: correct these records")
    facts = json.loads(document.out)
    assert document.err == shown.err
    assert [(it["outcome"], it["records"], it["lines"]) for it in facts["reasons"]] == [
        ("invalid", 29, [2, 3, 4]),
        ("invalid", 1, [27]),
    ]
    assert facts["error"] in shown.err


def test_refused_label_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    """A batch that is refused says why, where cron sends it by mail."""
    path = write_csv(tmp_path / "in.csv", 3)
    sandbox.set_outage("labels", status=403)
    sandbox.fail_next("batch", status=400, body={"slug": "invalid-input", "message": "no such label"}, times=9)
    pushed = invoke(sandbox, "calls", "push", path)

    assert pushed.code == 1
    assert "refused: HTTP 400 invalid-input: no such label" in pushed.err
    assert "(3 records)" in pushed.err


@pytest.mark.parametrize("arguments", [("push",), ("push", "x.csv", "--rate", "many"), ("push", "x.csv", "--nonsense")])
def test_json_where_the_command_line_is_wrong(arguments: tuple[str, ...]) -> None:
    """With --json there is one document in every outcome."""
    ended = invoke(None, "calls", *arguments, "--json")

    assert ended.code == 2
    assert json.loads(ended.out)["exit_code"] == 2
    assert json.loads(ended.out)["error"]


def test_time_of_the_next_token(sandbox: Sandbox) -> None:
    """Messages have a time of this place, and no word of the library."""
    sandbox.set_outage("token", status=429)
    ended = invoke(sandbox, "labels", "list", "--store", "memory://", "--json")

    assert ended.code == 3
    assert "retry_at" not in ended.err
    assert re.search(r"wait until (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d", ended.err)
    assert json.loads(ended.out)["error"] in ended.err


class Clock:
    """Stand in for the clock of the bar."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def strftime(self, form: str) -> str:
        return "14:02:11"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def _totals(acknowledged: int, all_of_them: int) -> dict[str, int]:
    return NONE | {"acknowledged": acknowledged, "unsent": all_of_them - acknowledged}


def test_a_million_takes_half_an_hour(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal it says at once how long it takes, and then a line each minute."""
    with Bar("pushing", 1_000_000, pace=60) as bar:
        for second in range(181):
            clock.now = 1000.0 + second
            bar.show(_totals(30_000 * (second // 60 + 1), 1_000_000), "waiting for the API's pace")

    assert capsys.readouterr().err.splitlines() == [
        f"14:02:11 pushing: {done} of 1,000,000 records, {left} min left, waiting for the API's pace"
        for done, left in (("30,000", 32), ("60,000", 31), ("90,000", 30), ("120,000", 29))
    ]


def test_a_short_push_is_silent(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """30,000 records leave at once, so cron sends no mail."""
    with Bar("pushing", 30_000, pace=60) as bar:
        bar.show(_totals(0, 30_000))
        clock.now += 5
        bar.show(_totals(29_500, 30_000))

    assert capsys.readouterr().err == ""


def test_unknown_total(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """A check says how many records it has read so far."""
    with Bar("checking", None) as bar:
        bar.at(1000)
        clock.now += 61
        bar.at(2_000_000)

    assert capsys.readouterr().err == "14:02:11 checking: 2,000,000 records\n"
