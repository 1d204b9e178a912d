"""Read scenarios from JSON, and refuse unknown keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from .scenario_given import Given
from .scenario_steps import STEPS, Step
from .scenario_values import ScenarioError


@attrs.frozen(kw_only=True)
class Report:
    """A problem that a runner must report of a scenario that is wrong on purpose. Step 0 is the end."""

    step: int
    what: str


@attrs.frozen(kw_only=True)
class Scenario:
    """One scenario."""

    name: str
    why: str
    given: Given = attrs.field(factory=Given)
    steps: list[Step]
    expected: dict[str, Any]
    reports: list[Report] = attrs.field(factory=list[Report])


@attrs.frozen(kw_only=True)
class Family:
    """One file."""

    family: str
    why: str
    scenarios: list[Scenario]


def load(path: Path) -> Family:
    """Return the scenarios of one file.

    Raises:
        ScenarioError: it is not of the form.
    """
    return structure(json.loads(path.read_text()), path.name)


def structure(family: object, name: str) -> Family:
    """Return the scenarios in JSON that was read already."""
    try:
        return _converter().structure(family, Family)
    except (cattrs.BaseValidationError, ScenarioError) as error:
        raise ScenarioError(f"{name}: {'; '.join(cattrs.transform_error(error))}") from error


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    bodies = {kind: make_dict_structure_fn(kind, converter) for kind in STEPS.values()}

    def step(value: dict[str, Any], _: object) -> Step:
        fields = dict(value)
        kind = STEPS.get(fields.pop("do", ""))
        if kind is None:
            raise ScenarioError(f"do: one of {', '.join(STEPS)} is needed, not {value.get('do')!r}")
        return bodies[kind](fields, kind)

    converter.register_structure_hook(Step, step)
    return converter
