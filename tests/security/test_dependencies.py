"""Check that each import is a declared dependency with a free licence and no known vulnerability."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

import pytest

import truecaller_vbc

ROOT: Final = Path(truecaller_vbc.__file__).parent
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
EXTRAS: Final[dict[str, list[str]]] = PROJECT["optional-dependencies"]
# Files that may import more than the runtime dependencies.
ALSO: Final = {
    "cli": [*EXTRAS["cli"], *EXTRAS["redis"], *EXTRAS["xlsx"]],
    "call_lists": [*EXTRAS["cli"], *EXTRAS["xlsx"]],
    "stores/redis.py": EXTRAS["redis"],
    "webhooks/redis.py": EXTRAS["redis"],
    "telemetry.py": EXTRAS["otel"],
    "serialization.py": ["pydantic", "pydantic_core"],  # only pydantic calls what imports them
    "pytest_plugin.py": ["pytest", "pytest_asyncio"],
}
# Modules whose package has another name.
PACKAGES: Final = {"phonenumbers": "phonenumberslite", "python_calamine": "python-calamine"}
# The release that fixed the last published vulnerability that concerns a client, and its name.
FIXED_IN: Final = {
    "aiohttp": ((3, 14, 3), "CVE-2026-69244; CVE-2026-59881, -69243, -54279 and others before it"),
    "filelock": ((3, 20, 3), "CVE-2026-22701; CVE-2025-68146: a lock's symbolic link was followed and truncated"),
    "redis": ((4, 5, 5), "CVE-2023-28859: a cancelled command left its answer to the next one"),
}
FREE: Final = re.compile(r"\b(MIT|Apache|BSD|PSF|Python Software Foundation|ISC|Unlicense)\b")


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9_.-]+", requirement)
    assert found is not None
    return found[0].lower()


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"truecaller_vbc"}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_imported_is_declared(path: Path) -> None:
    """Each third-party module that a file imports is a declared dependency of this package."""
    place = str(path.relative_to(ROOT))
    allowed = {_name(requirement) for requirement in PROJECT["dependencies"]}
    for where, requirements in ALSO.items():
        if place == where or place.startswith(f"{where}/"):
            allowed |= {_name(requirement) for requirement in requirements}
    names = {PACKAGES.get(name, name.lower().replace("opentelemetry", "opentelemetry-api")) for name in _imported(path)}
    assert names - {"_typeshed"} <= allowed


@pytest.mark.parametrize("name", FIXED_IN)
def test_lowest_version_has_no_known_vulnerability(name: str) -> None:
    """The lower bound of each dependency excludes versions with known vulnerabilities."""
    (requirement,) = [it for it in [*PROJECT["dependencies"], *EXTRAS["redis"]] if _name(it) == name]
    _, _, bound = requirement.partition(">=")
    assert tuple(map(int, bound.split("."))) >= FIXED_IN[name][0], FIXED_IN[name][1]


def _installed_packages() -> set[str]:
    """Return the packages that an installation with all runtime extras has, as far as they are installed."""
    todo = [*PROJECT["dependencies"], *EXTRAS["cli"], *EXTRAS["redis"], *EXTRAS["xlsx"]]
    names: set[str] = set()
    while todo:
        requirement = todo.pop()
        name = _name(requirement)
        if name in names or "extra ==" in requirement:
            continue
        try:
            todo += distribution(name).requires or []
        except PackageNotFoundError:
            continue  # for another system or another Python
        names.add(name)
    return names


def test_licences_are_permissive() -> None:
    """Each package has a permissive licence."""
    packages = _installed_packages()
    assert {"aiohttp", "yarl", "attrs", "redis", "rich"} <= packages
    for name in packages:
        about = distribution(name).metadata
        terms = [about.get_all(field) or [] for field in ("License-Expression", "License", "Classifier")]
        said = " ".join(term for field in terms for term in field)
        assert FREE.search(said), name
        assert "GPL" not in said, name
