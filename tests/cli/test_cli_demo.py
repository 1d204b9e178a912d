"""The demo plays all its acts, and its verdict can be a bad one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from truecaller_vbc import VBCSession
from truecaller_vbc.cli.demo import load
from truecaller_vbc.cli.demo.company import company_of
from truecaller_vbc.cli.demo.curtain import play_out
from truecaller_vbc.cli.demo.lateness import watch
from truecaller_vbc.cli.demo.options import RULES, DemoOptions
from truecaller_vbc.cli.demo.play import Play
from truecaller_vbc.cli.demo.tally import Tally
from truecaller_vbc.cli.demo.verdict import Verdict, judge, most_in_window
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.stores import open_store


async def _demo(*options: str, **environment: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "truecaller_vbc", "demo", "--seconds", "5", *options),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(180):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def _is_good(code: int, facts: dict[str, Any]) -> bool:
    """Whether it went well; where this machine was too slow to tell, that is all that may have gone wrong."""
    too_slow = facts["verdict"] == "unproven" and facts["latest_ms"] > 250
    return code == (4 if too_slow else 0) and facts["ok"] == (not too_slow)


async def test_demo_for_machines() -> None:
    """One JSON object with the verdict, after all acts were played."""
    code, out, err = await _demo("--callers", "20", "--json")
    facts = json.loads(out)

    assert err == ""
    assert _is_good(code, facts), facts
    assert facts["quota_held"]
    assert facts["acts"] == ["revocation of every token", "token endpoint down (503)", "all connections killed"]
    assert facts["calls"] > 20
    assert facts["mints"] >= 2


async def test_demo_where_there_is_no_terminal() -> None:
    """Plain lines, no escape codes whatever FORCE_COLOR says, and a last line with the verdict."""
    code, out, _ = await _demo("--callers", "20", FORCE_COLOR="1")

    assert "\x1b" not in out
    assert len(out.splitlines()) >= 5
    assert out.splitlines()[-1].startswith({0: "OK: ", 4: "UNPROVEN: this machine was too slow"}[code])


@pytest.mark.parametrize("store", ["file", "redis"])
async def test_demo_of_a_fleet(store: str) -> None:
    """Real processes on one store; the leader is killed in mid-mint, and still nobody is without a token."""
    code, out, _ = await _demo("--callers", "20", "--processes", "2", "--store", store, "--json")
    facts = json.loads(out)

    assert _is_good(code, facts), facts
    assert facts["cut_short"] or facts["acts"][-1] == "leader killed in mid-mint"
    assert facts["calls"] > 20


async def test_demo_of_a_fleet_without_a_store() -> None:
    """Processes that share nothing are refused, and told what to do."""
    code, _, err = await _demo("--processes", "2")

    assert code == 2
    assert "--store file" in err


async def test_play_without_an_answer_ends() -> None:
    """Where no call is ever answered, the play waits for the first one, but not for ever."""
    async with Sandbox(RULES) as sandbox:
        await sandbox.pause_listening()
        async with company_of(DemoOptions(callers=1), sandbox, None) as company, asyncio.timeout(10):
            cut_short = await play_out(Play(sandbox, company, None, 5), company, 0.1)

    assert cut_short == "the play came to a halt in: ordinary refreshes"
    assert "no call was answered" in judge(company.tally, sandbox, cut_short).reasons


async def test_play_whose_callers_die(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers who are gone fail for want of nothing: that is no good verdict, and nothing to wait for."""
    call = load._call

    async def call_with_a_bug(vbc: VBCSession, tally: Tally) -> bool:
        if tally.calls >= 3:
            raise RuntimeError
        return await call(vbc, tally)

    monkeypatch.setattr(load, "_call", call_with_a_bug)
    async with Sandbox(RULES) as sandbox, company_of(DemoOptions(callers=20), sandbox, None) as company:
        async with asyncio.timeout(20):
            cut_short = await play_out(Play(sandbox, company, None, 60), company, 60)

    assert cut_short == "the callers stopped"
    assert judge(company.tally, sandbox, cut_short).died == 1


BUG = """
from truecaller_vbc.cli.demo import load

async def call_with_a_bug(vbc, tally):
    await vbc.token()
    tally.calls += 1
    if tally.calls >= 3:
        raise RuntimeError
    return True

load._call = call_with_a_bug
"""


async def test_fleet_whose_callers_die(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that dies by itself is counted, and not replaced."""
    (tmp_path / "sitecustomize.py").write_text(BUG)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    options, store = DemoOptions(callers=20, processes=2), (tmp_path / "token.json").as_uri()
    async with Sandbox(RULES) as sandbox, company_of(options, sandbox, store) as company, asyncio.timeout(30):
        cut_short = await play_out(Play(sandbox, company, open_store(store), 60), company, 60)

    assert cut_short == "the callers stopped"
    assert company.tally.died == 2


GOOD = Verdict(
    calls=100,
    lost_connections=3,
    want_of_token=0,
    unexpected=0,
    died=0,
    mints=5,
    refused_for_quota=0,
    most_in_window=10,
    refused_in_outage=3,
    unseen=0,
    latest_ms=20.0,
    p50_ms=1.0,
    p99_ms=2.0,
    cut_short=None,
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"calls": 0}, "no call"),
        ({"want_of_token": 1}, "want of a token"),
        ({"unexpected": 2}, "nobody expects"),
        ({"refused_for_quota": 1}, "refused 1 mints"),
        ({"most_in_window": 11}, "11 mints in one window"),
        ({"died": 1}, "1 processes with callers died"),
        ({"cut_short": "the callers stopped"}, "the callers stopped"),
        ({"refused_in_outage": 0}, "the outage met no refresh"),
    ],
)
def test_verdict_names_each_reason(change: dict[str, Any], reason: str) -> None:
    """Anything that goes wrong is a reason, and the exit code is 1 then."""
    bad = attrs.evolve(GOOD, **change)

    assert GOOD.reasons == []
    assert str(GOOD).startswith("OK")
    assert len(bad.reasons) == 1
    assert reason in str(bad)
    assert bad.facts()["verdict"] == "failed"
    assert not bad.facts()["ok"]
    assert (GOOD.exit_code, bad.exit_code) == (0, 1)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "ok"),
        ({"want_of_token": 1}, "unproven"),
        ({"calls": 0}, "unproven"),
        ({"refused_in_outage": 0}, "unproven"),
        ({"cut_short": "the play came to a halt"}, "unproven"),
        ({"unexpected": 1}, "failed"),
        ({"died": 1}, "failed"),
        ({"refused_for_quota": 1}, "failed"),
        ({"most_in_window": 11}, "failed"),
        ({"refused_for_quota": 1, "want_of_token": 1}, "failed"),
    ],
)
def test_verdict_on_a_slow_machine(change: dict[str, Any], outcome: str) -> None:
    """It turns no broken promise into a good one, and none of its own slowness into a broken promise."""
    verdict = attrs.evolve(GOOD, latest_ms=900.0, **change)

    assert verdict.outcome == outcome
    assert verdict.exit_code == {"ok": 0, "failed": 1, "unproven": 4}[outcome]
    if outcome == "unproven":
        assert str(verdict).startswith("UNPROVEN: this machine was too slow")
        assert "--callers" in str(verdict)


def test_quota_that_nobody_saw() -> None:
    """Requests that fell out of the server's log may have been one too many."""
    verdict = attrs.evolve(GOOD, unseen=1)

    assert GOOD.facts()["quota_held"]
    assert not verdict.facts()["quota_held"]
    assert (verdict.outcome, verdict.exit_code) == ("unproven", 4)
    assert not attrs.evolve(GOOD, most_in_window=11).facts()["quota_held"]
    assert not attrs.evolve(GOOD, refused_for_quota=1).facts()["quota_held"]


async def test_a_loop_that_comes_late_is_noticed() -> None:
    """The most of it is kept, also over processes."""
    tally, all_of_them = Tally(), Tally(latest=0.01)
    watching = asyncio.create_task(watch(tally))
    await asyncio.sleep(0)
    time.sleep(0.15)  # noqa: ASYNC251 - a machine that is too slow
    while not tally.latest:
        await asyncio.sleep(0)
    watching.cancel()
    all_of_them.add(tally.taken())

    assert all_of_them.latest > 0.1


def test_most_in_window() -> None:
    """The window slides, and is open at its beginning."""
    assert most_in_window([], 10) == 0
    assert most_in_window([0, 5, 9, 10, 20], 10) == 3


def test_tallies_of_processes_add_up() -> None:
    """What one process took out, another takes in, once."""
    one, all_of_them = Tally(calls=3, lost_connections=1), Tally(calls=1)
    one.latencies.append(0.25)
    all_of_them.add(one.taken())
    all_of_them.add(one.taken())

    assert (all_of_them.calls, all_of_them.lost_connections) == (4, 1)
    assert all_of_them.percentile_ms(0.99) == 250.0
    assert one.percentile_ms(0.5) is None
