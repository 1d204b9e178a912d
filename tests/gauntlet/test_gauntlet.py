"""Run the gauntlet in virtual time and with real processes, and prove that it detects mutations of the library."""

from __future__ import annotations

import asyncio
import faulthandler
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..redis_server import redis_server
from .account_mutations import ACCOUNT_MUTATIONS, accounts_everywhere
from .driver import SIMULATION_STEPS, Plan, run_simulations
from .invariants import Violation
from .mutations import (
    CLOCKS_APART,
    FIRST_SEEDS,
    MUTATIONS,
    Mutation,
    clocks_apart,
    leaks_descriptors,
    leaks_memory,
    undo,
)
from .pool_mutations import POOL_MUTATIONS, pools_everywhere
from .real_processes import RealGauntlet

pytestmark = pytest.mark.slow

LEAKS = (leaks_descriptors, leaks_memory)  # they show only by comparing simulations


@pytest.fixture(autouse=True)
def _no_dump_of_long_runs() -> None:
    """Switch pytest's dump of hanging tests off, since the long form takes longer than a test may."""
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def _undo_leaks() -> Iterator[None]:
    yield
    undo()


def test_simulations(tmp_path: Path) -> None:
    """No simulation violates an invariant, and memory and descriptors do not grow from one to the next."""
    plan = Plan.from_env()

    report = run_simulations(plan.simulations(), tmp_path)

    print("\n".join(report.lines()))
    assert report.steps == plan.steps
    report.check_growth()


def test_a_seed_repeats_exactly(tmp_path: Path) -> None:
    """Two runs of one seed take the same steps at the same virtual times with the same answers."""
    seeds = [(Plan.from_env().seed + 1_000, SIMULATION_STEPS)]

    first = run_simulations(seeds, tmp_path / "first")
    second = run_simulations(seeds, tmp_path / "second")

    assert first.traces == second.traces
    assert first.counts == second.counts


@pytest.mark.usefixtures("_undo_leaks")
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_mutation_is_detected(mutation: Mutation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutation of the library violates the invariant that is listed with it."""
    simulations = [(FIRST_SEEDS.get(mutation, 1) + number, 60) for number in range(40)]
    if mutation in LEAKS:
        simulations = [(seed, 8) for seed, _ in simulations[:8]]
    if mutation in POOL_MUTATIONS:
        pools_everywhere(monkeypatch)
    if mutation in ACCOUNT_MUTATIONS:
        accounts_everywhere(monkeypatch)
    mutation(monkeypatch)

    with pytest.raises(Violation) as caught:
        run_simulations(simulations, tmp_path).check_growth()

    assert caught.value.invariant == MUTATIONS[mutation]


@pytest.mark.parametrize("mutation", CLOCKS_APART, ids=lambda mutation: mutation.__name__)
def test_mutation_is_detected_with_clocks_apart(
    mutation: Mutation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is allowed for where machines have no common clock does not hide faults."""
    clocks_apart(monkeypatch)
    mutation(monkeypatch)

    with pytest.raises(Violation) as caught:
        run_simulations([(CLOCKS_APART[mutation] + number, 60) for number in range(20)], tmp_path)

    assert caught.value.invariant == MUTATIONS[mutation]


async def test_real_processes(tmp_path: Path) -> None:
    """Fleets on a file and on Redis survive kills, stops, server faults and lost stores within their quota."""
    plan = Plan.from_env()
    for name in ("file", "redis"):
        (tmp_path / name).mkdir(mode=0o700)
    with redis_server() as server:
        with_file = RealGauntlet(plan.seed, tmp_path / "file" / "token.json", tmp_path / "file")
        with_redis = RealGauntlet(plan.seed + 1, server, tmp_path / "redis")
        reports = await asyncio.gather(with_file.run(plan.seconds), with_redis.run(plan.seconds))

    for name, report in zip(("file", "redis"), reports, strict=True):
        print(f"\n{name}: " + "\n".join(report.lines()))
