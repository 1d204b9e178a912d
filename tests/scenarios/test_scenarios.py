"""Play the scenarios, which state the contract of the token holder as data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .scenario_format import Family, Scenario, load, structure
from .scenario_run import play, problems_of
from .scenario_schema import FILE, schema, text
from .scenario_values import ScenarioError

HERE = Path(__file__).parent
FAMILIES = [load(path) for path in sorted(HERE.glob("*.json")) if path != FILE]
WRONG = load(HERE / "wrong" / "wrong.json")


def _named(*families: Family) -> list[Any]:
    return [pytest.param(it, id=f"{family.family}: {it.name}") for family in families for it in family.scenarios]


@pytest.mark.parametrize("scenario", _named(*FAMILIES))
def test_scenario(scenario: Scenario) -> None:
    """Everything happens as the scenario says."""
    assert play(scenario) == []


def test_every_scenario_has_a_name_of_its_own() -> None:
    """The names of scenarios are unique, and each scenario states its rule."""
    for family in [*FAMILIES, WRONG]:
        assert max(Counter(scenario.name for scenario in family.scenarios).values()) == 1
        assert all(scenario.why.endswith((".", "...")) for scenario in family.scenarios)


@pytest.mark.parametrize("scenario", _named(WRONG))
def test_runner_reports_what_is_wrong(scenario: Scenario) -> None:
    """Exactly the wrong expectations are reported, each with its scenario, step, expected and actual value."""
    problems = problems_of(scenario)
    assert {(report.step, report.what) for report in scenario.reports} == {(it.step, it.what) for it in problems}
    for problem in problems:
        place = f"step {problem.step}" if problem.step else "at the end"
        line = problem.line(scenario.name)
        assert line.startswith(f"{scenario.name}, {place}: {problem.what}: expected {problem.expected!r}, got ")
        assert line.endswith(f"got {problem.got!r}")


TOKEN = {"at": 0, "do": "token"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stepps": []}, "stepps"),
        ({"given": {"servr": {}}}, "servr"),
        ({"given": {"policy": {"life_time": 3600}}}, "life_time"),
        ({"given": {"server": {"then": {"staus": 503}}}}, "staus"),
        ({"given": {"server": {"then": {"connection": "cut"}}}}, "cut"),
        ({"steps": [{"at": 0, "do": "tokn"}]}, "tokn"),
        ({"steps": [{"at": 0, "do": "token", "caller": 3}]}, "caller"),
        ({"steps": [TOKEN | {"expect": {"took": 1}}]}, "outcome"),
        ({"steps": [TOKEN | {"expect": {"outcome": "t1", "took": "long"}}]}, "took"),
        ({"steps": [TOKEN | {"expect": {"outcome": "t1", "took": [2, 1]}}]}, "took"),
        ({"steps": [TOKEN | {"expect": {"outcome": 3}}]}, "outcome"),
        ({"steps": [{"at": 5, "do": "token"}, {"at": 4, "do": "token"}]}, "step 2"),
        ({"steps": [TOKEN | {"process": "b"}]}, "'b'"),
        ({"steps": [{"at": 0, "do": "kill", "process": "b"}]}, "'b'"),
        ({"steps": [], "expected": {"main": {"stat": "empty"}}}, "main.stat"),
        ({"steps": [], "expected": {"b": {"state": "empty"}}}, "'b'"),
    ],
)
def test_scenario_that_means_nothing_is_refused(change: dict[str, Any], message: str) -> None:
    """An unknown key or name and a step in the past are errors."""
    scenario = {"name": "n", "why": "w", "steps": [TOKEN], "expected": {}} | change
    with pytest.raises(ScenarioError, match=message):
        play(structure({"family": "f", "why": "w", "scenarios": [scenario]}, "f.json").scenarios[0])


def test_schema_is_up_to_date() -> None:
    """The JSON Schema agrees with the classes; `python -m tests.scenarios.scenario_schema` writes it."""
    assert FILE.read_text() == text()


def test_readme_explains_every_key() -> None:
    """The README names every key, for runners in other languages."""
    readme = (HERE / "README.md").read_text()
    names = {name for definition in schema()["$defs"].values() for name in definition["properties"]}
    looked_at = {report.what.partition(".")[2] for scenario in WRONG.scenarios for report in scenario.reports}
    assert {name for name in names | looked_at if name and f"`{name}`" not in readme} == set()
