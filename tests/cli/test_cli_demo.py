"""Play the demo, and check its verdict and output."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import attrs
import pytest

from truecaller_vbc import VBCSession
from truecaller_vbc.cli import demo as load
from truecaller_vbc.cli.demo import Scenario, measure_loop_lag, play_to_end, run_callers
from truecaller_vbc.cli.verdict import POLICY, RULES, Figures, most_in_window
from truecaller_vbc.sandbox import Sandbox


async def _demo(*options: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "truecaller_vbc", "demo", "--seconds", "4", "--callers", "20", *options),
        env={**os.environ, "FORCE_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = (text.decode() for text in await process.communicate())
    assert err == ""
    assert process.returncode in (0, 4)
    return process.returncode, out


@pytest.mark.slow
async def test_demo_plays_all_phases() -> None:
    """The demo ends with a verdict: one JSON object with --json, else plain lines without escape codes."""
    (text_code, text), (json_code, document) = await asyncio.gather(_demo(), _demo("--json"))

    assert "\x1b" not in text
    begin = "OK: " if text_code == 0 else "UNPROVEN: this machine was too slow"
    assert text.splitlines()[-1].startswith(begin)
    figures = json.loads(document)
    assert figures["ok"] == (json_code == 0)
    assert figures["quota_held"]
    assert figures["faults"] == ["revocation of every token", "token endpoint down (503)", "all connections killed"]
    assert figures["calls"] > 20
    assert figures["mints"] >= 2


async def test_scenario_without_an_answer_ends() -> None:
    """A scenario whose calls are never answered ends at its time limit."""
    async with Sandbox(RULES) as sandbox:
        await sandbox.pause_listening()
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=POLICY) as vbc:
            figures = Figures()
            calling = asyncio.create_task(run_callers(vbc, 1, figures))
            figures.cut_short = await play_to_end(Scenario(sandbox, figures, 5), calling, 0.1)
            calling.cancel()
            await asyncio.wait([calling])
        figures.count_mints(sandbox)

    assert figures.cut_short == "the scenario halted in the phase: ordinary refreshes"
    assert "no call was answered" in figures.judge()[1]


async def test_crashed_callers_end_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in a caller ends the scenario and fails the verdict."""

    async def broken_call(vbc: VBCSession, figures: Figures) -> None:
        raise RuntimeError

    monkeypatch.setattr(load, "_call", broken_call)
    monkeypatch.setattr(load, "_PAUSE", (0.0, 0.0))
    async with Sandbox(RULES) as sandbox:
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=POLICY) as vbc:
            figures = Figures()
            calling = asyncio.create_task(run_callers(vbc, 20, figures))
            figures.cut_short = await play_to_end(Scenario(sandbox, figures, 60), calling, 60)
        figures.count_mints(sandbox)

    assert figures.cut_short == "the callers stopped"
    assert figures.judge()[0] == "failed"


GOOD = Figures(calls=100, lost_connections=3, mints=5, most_in_window=10, refused_in_outage=3, loop_lag=0.02)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"calls": 0}, "no call"),
        ({"token_failures": 1}, "without a token"),
        ({"unexpected": 2}, "2 calls had an unexpected answer"),
        ({"refused_for_quota": 1}, "refused 1 mints"),
        ({"most_in_window": 11}, "11 mints in one window"),
        ({"crashed": True}, "an exception ended the callers"),
        ({"cut_short": "the callers stopped"}, "the callers stopped"),
        ({"refused_in_outage": 0}, "the outage met no refresh"),
    ],
)
def test_verdict_names_each_reason(change: dict[str, Any], reason: str) -> None:
    """Each failure is named, and makes the exit code 1."""
    bad = attrs.evolve(GOOD, **change)

    assert GOOD.judge() == ("ok", [])
    assert str(GOOD).startswith("OK")
    assert len(bad.judge()[1]) == 1
    assert reason in str(bad)
    assert bad.to_dict()["verdict"] == "failed"
    assert not bad.to_dict()["ok"]
    assert (GOOD.exit_code, bad.exit_code) == (0, 1)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, "ok"),
        ({"token_failures": 1}, "unproven"),
        ({"calls": 0}, "unproven"),
        ({"refused_in_outage": 0}, "unproven"),
        ({"cut_short": "the scenario halted"}, "unproven"),
        ({"unexpected": 1}, "failed"),
        ({"crashed": True}, "failed"),
        ({"refused_for_quota": 1}, "failed"),
        ({"most_in_window": 11}, "failed"),
        ({"refused_for_quota": 1, "token_failures": 1}, "failed"),
    ],
)
def test_verdict_on_a_slow_machine(change: dict[str, Any], outcome: str) -> None:
    """A slow machine excuses lateness, but no broken promise."""
    verdict = attrs.evolve(GOOD, loop_lag=0.9, **change)

    assert verdict.judge()[0] == outcome
    assert verdict.exit_code == {"ok": 0, "failed": 1, "unproven": 4}[outcome]
    if outcome == "unproven":
        assert str(verdict).startswith("UNPROVEN: this machine was too slow")
        assert "--callers" in str(verdict)


def test_requests_missing_in_the_log_prove_nothing() -> None:
    """The quota is not proven to hold if token requests are missing in the server's log."""
    verdict = attrs.evolve(GOOD, unlogged=1)

    assert GOOD.to_dict()["quota_held"]
    assert not verdict.to_dict()["quota_held"]
    assert (verdict.judge()[0], verdict.exit_code) == ("unproven", 4)
    assert not attrs.evolve(GOOD, most_in_window=11).to_dict()["quota_held"]
    assert not attrs.evolve(GOOD, refused_for_quota=1).to_dict()["quota_held"]


async def test_loop_lag_is_measured() -> None:
    """The longest delay of the event loop is kept."""
    figures = Figures()
    measuring = asyncio.create_task(measure_loop_lag(figures))
    await asyncio.sleep(0)
    time.sleep(0.15)  # noqa: ASYNC251 - a machine that is too slow
    while not figures.loop_lag:
        await asyncio.sleep(0)
    measuring.cancel()

    assert figures.loop_lag > 0.1


def test_most_in_window() -> None:
    """The window slides, and is open at its beginning."""
    assert most_in_window([], 10) == 0
    assert most_in_window([0, 5, 9, 10, 20], 10) == 3


def test_percentile_of_no_calls() -> None:
    """A percentile is None without calls, and in milliseconds with some."""
    figures = Figures()
    assert figures.percentile_ms(0.5) is None
    figures.latencies.append(0.25)
    assert figures.percentile_ms(0.99) == 250.0
