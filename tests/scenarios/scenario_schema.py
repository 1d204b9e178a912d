"""Derive a JSON Schema of scenarios from the classes that read them.

``python -m tests.scenarios.scenario_schema`` writes the file, and a test checks that it is up to date.
"""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any, Final

import attrs

from .scenario_format import Family
from .scenario_steps import STEPS, Outcome, Step

FILE: Final = Path(__file__).with_name("scenario.schema.json")
_NUMBER: Final = {"type": "number"}
_EXPECTED_NUMBER: Final = {
    "description": "A number, [least, most], or null where there must be none.",
    "anyOf": [_NUMBER, {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}, {"type": "null"}],
}
_BY_NAME: Final[dict[tuple[type, str], Any]] = {
    (Outcome, "outcome"): {
        "anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": _EXPECTED_NUMBER}],
    },
    (Outcome, "took"): _EXPECTED_NUMBER,
    (Outcome, "retry_at"): _EXPECTED_NUMBER,
}
_PLAIN: Final[dict[object, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: _NUMBER,
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Any: {},
    Step: {"oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in STEPS.values()]},
}


def schema() -> dict[str, Any]:
    """Return the schema of one file."""
    definitions: dict[str, Any] = {}
    for kind in STEPS.values():
        _define(kind, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A family of scenarios, see README.md",
        **_of(Family, definitions),
        "$defs": definitions,
    }


def text() -> str:
    """Return the text of the schema file."""
    return json.dumps(schema(), indent=2) + "\n"


def _of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if attrs.has(kind):
        _define(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case typing.Literal:
            return {"enum": list(arguments)}
        case types.UnionType | typing.Union:
            return {"anyOf": [_of(argument, definitions) for argument in arguments]}
        case origin if origin is list:
            return {"type": "array", "items": _of(arguments[0], definitions)}
        case origin if origin is dict:
            return {"type": "object", "additionalProperties": _of(arguments[1], definitions)}
        case _:
            raise TypeError(kind)


def _define(kind: type[attrs.AttrsInstance], definitions: dict[str, Any]) -> None:
    if kind.__name__ in definitions:
        return
    definition: dict[str, Any] = {"description": kind.__doc__, "type": "object", "additionalProperties": False}
    definitions[kind.__name__] = definition
    fields = attrs.fields(attrs.resolve_types(kind))
    definition["properties"] = {
        field.name: _BY_NAME.get((kind, field.name)) or _of(field.type, definitions) for field in fields
    }
    definition["required"] = [field.name for field in fields if field.default is attrs.NOTHING]
    if does := getattr(kind, "does", None):
        definition["properties"] = {"do": {"const": does}, **definition["properties"]}
        definition["required"] = ["do", *definition["required"]]


if __name__ == "__main__":
    FILE.write_text(text())
