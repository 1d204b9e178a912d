"""Compare expected and actual values, and report differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from .scenario_values import ScenarioError

TOLERANCE: Final = 0.001


@attrs.frozen
class Problem:
    """An expectation that was not met. Step 0 is the end of the scenario."""

    step: int
    what: str
    expected: object
    got: object

    def line(self, scenario: str) -> str:
        """Return a line for people."""
        place = f"step {self.step}" if self.step else "at the end"
        return f"{scenario}, {place}: {self.what}: expected {self.expected!r}, got {self.got!r}"


def fits(expected: Any, got: Any) -> bool:
    """Return whether `got` is as expected; see README.md, "Expected values"."""
    if isinstance(got, list):
        if isinstance(expected, list):
            return len(expected) == len(got) and all(map(fits, expected, got))
        return fits(expected, len(got))
    if isinstance(got, Mapping):
        return isinstance(expected, Mapping) and expected.keys() == got.keys() and all(_pairs_fit(expected, got))
    if isinstance(got, int | float):
        least, most = expected if isinstance(expected, list) else (expected, expected)
        return least is not None and least - TOLERANCE <= got <= most + TOLERANCE
    return bool(expected == got)


def _pairs_fit(expected: Mapping[str, Any], got: Mapping[str, Any]) -> list[bool]:
    return [fits(value, got[key]) for key, value in expected.items()]


def rounded(got: Any) -> Any:
    """Round numbers for a report."""
    if isinstance(got, float):
        return round(got, 3)
    if isinstance(got, list):
        return [rounded(value) for value in got]
    if isinstance(got, Mapping):
        return {key: rounded(value) for key, value in got.items()}
    return got


def judge_look(
    step: int, expected: Mapping[str, Mapping[str, Any]], seen: Callable[[str], Mapping[str, Any]]
) -> list[Problem]:
    """Compare all expectations of the server, the store and the processes with `seen`."""
    problems = []
    for name, keys in expected.items():
        got = seen(name)
        for key, value in keys.items():
            if key not in got:
                raise ScenarioError(f"step {step}: {name}.{key}: one of {', '.join(got)} is needed")
            if not fits(value, got[key]):
                problems.append(Problem(step, f"{name}.{key}", value, rounded(got[key])))
    return problems
