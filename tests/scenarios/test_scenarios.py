"""The scenarios: the contract of the token holder as data, played in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario_format import Scenario, ScenarioError, load, structure
from scenario_run import play, problems_of

HERE = Path(__file__).parent
FAMILIES = [load(path) for path in sorted(HERE.glob("*.json")) if path.name != "scenario.schema.json"]
WRONG = load(HERE / "wrong" / "wrong.json").scenarios
SCENARIOS = [
    pytest.param(scenario, id=f"{family.family}: {scenario.name}")
    for family in FAMILIES
    for scenario in family.scenarios
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: Scenario) -> None:
    """Everything happens as the scenario says."""
    assert play(scenario) == []
