"""The gauntlet in virtual time: every switch of the sandbox and every fault at random, and a judge at each step."""

from __future__ import annotations

import faulthandler
from pathlib import Path

import pytest

from .driver import play_worlds
from .plan import WORLD_STEPS, Plan

pytestmark = pytest.mark.slow


def test_virtual_worlds(tmp_path: Path) -> None:
    """No seed finds a violation, and what one world leaves behind the next one does not add to."""
    plan = Plan.from_env()
    faulthandler.cancel_dump_traceback_later()  # the long form takes longer than a test that hangs

    report = play_worlds(plan.worlds(), tmp_path)

    print("\n".join(report.lines()))
    assert report.steps == plan.steps
    report.judge_growth()


def test_a_seed_plays_the_same_way_twice(tmp_path: Path) -> None:
    """What a seed did it does again: step by step, at the same virtual times, with the same answers."""
    seeds = [(Plan.from_env().seed + 1_000, WORLD_STEPS)]

    first = play_worlds(seeds, tmp_path / "first")
    second = play_worlds(seeds, tmp_path / "second")

    assert first.traces == second.traces
    assert first.counts == second.counts
