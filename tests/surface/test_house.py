"""Check which part of the package imports which.

`MAY_IMPORT` maps each file or folder of the package to the others that it may import. It lists them from the bottom up,
so an import of a part that comes later would be a circle.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import truecaller_vbc

ROOT = Path(truecaller_vbc.__file__).parent
MAY_IMPORT = {
    "secret": set(),
    "serialization": set(),
    "account": {"serialization"},
    "errors": {"secret", "serialization"},
    "credentials": {"errors", "secret"},
    "durations": {"errors"},
    "backoff": set(),
    "timestamps": set(),
    "transport_errors": set(),
    "files": set(),
    "stores": {"errors", "files", "secret"},
    "token": {
        "account",
        "backoff",
        "credentials",
        "durations",
        "errors",
        "secret",
        "serialization",
        "stores",
        "timestamps",
        "transport_errors",
    },
    "transport": {"errors", "token"},
    "api": {
        "account",
        "backoff",
        "durations",
        "errors",
        "secret",
        "serialization",
        "timestamps",
        "transport",
        "transport_errors",
    },
    "call_lists": {"api", "errors"},
    "options": {"api", "credentials", "stores", "token"},
    "accounts": {"credentials", "durations", "errors", "options", "secret", "session", "stores"},
    "session": {"api", "credentials", "errors", "options", "secret", "stores", "token", "transport"},
    "webhooks": {"errors", "files", "secret", "serialization", "stores", "timestamps"},
    "telemetry": {"account", "api", "session", "token"},
    "sandbox": {"credentials"},
    "pytest_plugin": {"session", "token", "sandbox", "webhooks"},
    "cli": {
        "files",
        "api",
        "backoff",
        "call_lists",
        "credentials",
        "errors",
        "sandbox",
        "session",
        "stores",
        "token",
        "webhooks",
    },
}


def _imported(path: Path) -> set[str]:
    """Return the parts of the package that a file imports."""
    package = ("truecaller_vbc", *path.relative_to(ROOT).parent.parts)
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) - node.level + 1] if node.level else ()
        full = (*base, *(node.module or "").split("."))
        if full[0] == "truecaller_vbc" and len(full) > 1 and full[1]:
            parts.add(full[1])
    return parts


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_run_down_only(part: str) -> None:
    """Each part of the package imports only the parts that MAY_IMPORT lists for it."""
    place = ROOT / part
    files = list(place.rglob("*.py")) if place.is_dir() else [ROOT / f"{part}.py"]
    assert files
    for path in files:
        assert _imported(path) - {part} <= MAY_IMPORT[part], path
