"""Arrows run down only: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import truecaller_vbc

ROOT = Path(truecaller_vbc.__file__).parent
MAY_IMPORT = {
    "errors": set(),
    "secret": set(),
    "credentials": {"errors", "secret"},
    "durations": {"errors"},
    "backoff": set(),
    "timestamps": set(),
    "transport_errors": set(),
    "files": set(),
    "stores": {"errors", "files", "secret"},
    "token": {"backoff", "credentials", "durations", "errors", "secret", "stores", "timestamps", "transport_errors"},
    "transport": {"errors", "token"},
    "api": {"backoff", "durations", "errors", "timestamps", "transport", "transport_errors"},
    "session": {"api", "credentials", "errors", "secret", "stores", "token", "transport"},
    "sandbox": {"credentials"},
    "pytest_plugin": {"session", "token", "sandbox"},
    "cli": {"files", "api", "credentials", "errors", "sandbox", "session", "stores", "token"},
}


def _imported(path: Path) -> set[str]:
    """The rooms of the house that a file imports from."""
    package = ("truecaller_vbc", *path.relative_to(ROOT).parent.parts)
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) - node.level + 1] if node.level else ()
        full = (*base, *(node.module or "").split("."))
        if full[0] == "truecaller_vbc" and len(full) > 1 and full[1]:
            rooms.add(full[1])
    return rooms


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_run_down_only(room: str) -> None:
    """Each room imports from the rooms below it, and from no other."""
    place = ROOT / room
    files = list(place.rglob("*.py")) if place.is_dir() else [ROOT / f"{room}.py"]
    assert files
    for path in files:
        assert _imported(path) - {room} <= MAY_IMPORT[room], path
