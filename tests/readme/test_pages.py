"""Compare the tables and links of the README and the documentation with the code."""

from __future__ import annotations

import re
import tomllib
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import attrs
import pytest

import truecaller_vbc
import truecaller_vbc.call_lists
import truecaller_vbc.sandbox
import truecaller_vbc.stores
import truecaller_vbc.webhooks
from truecaller_vbc import APIPolicy, TokenPolicy, VBCError

from .snippets import PAGES, ROOT

README: Final = PAGES["README.md"]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY: Final = PROJECT["urls"]["Source"]
LINK: Final = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)


def _table(page: str, heading: str) -> dict[str, str]:
    """Return the first two columns of the table under a heading."""
    section = re.split(r"^#+ ", PAGES[page].partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    return {
        name: value
        for names, values in re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", section, re.MULTILINE)
        for name, value in zip(re.findall(r"\w+", names), values.split(", "), strict=True)
    }


def _shown(value: object) -> str:
    if not isinstance(value, timedelta):
        return str(value)
    seconds = value.total_seconds()
    return f"{seconds / 60:g} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g} s"


@pytest.mark.parametrize("policy", [TokenPolicy, APIPolicy])
def test_policy_table(policy: type[TokenPolicy | APIPolicy]) -> None:
    """Every number of a policy is in its table, with its default."""
    shown = {
        name: "1 min" if value == "60 s" else value for name, value in _table("docs/policy.md", policy.__name__).items()
    }

    assert {name: _shown(value) for name, value in attrs.asdict(policy()).items()} == shown


def test_error_table() -> None:
    """Every error has its line on the error page, and those in the README exist."""
    errors = {
        name
        for name in truecaller_vbc.__all__
        if isinstance(kind := getattr(truecaller_vbc, name), type) and issubclass(kind, VBCError)
    }
    builtins = {"ValueError", "RuntimeError", "TimeoutError", "ClientError"}

    assert errors == set(re.findall(r"`(?:\w+\.)?(\w+Error)`", PAGES["docs/errors.md"])) - builtins
    assert set(re.findall(r"`(\w+Error)`", README)) <= errors


@pytest.mark.parametrize(
    "module",
    [
        truecaller_vbc,
        truecaller_vbc.call_lists,
        truecaller_vbc.sandbox,
        truecaller_vbc.stores,
        truecaller_vbc.webhooks,
    ],
)
def test_reference_has_every_public_name(module: ModuleType) -> None:
    """Every public name has its entry in the reference."""
    entries = re.findall(r"^\.\. auto\w+:: truecaller_vbc\.(?:\w+\.)*(\w+)$", PAGES["docs/reference.md"], re.MULTILINE)
    text = PAGES["docs/reference.md"]

    names = {name for name in module.__all__ if not name.startswith("__")}
    assert names <= {*entries, *re.findall(r"`(\w+)`", text)}


def test_readme_is_short() -> None:
    """A reader decides in one minute."""
    assert len(README.splitlines()) <= 150


def test_readme_works_on_pypi() -> None:
    """Every link and image of the README is absolute, and no block needs an extension."""
    links = [first or second for first, second in LINK.findall(README)]

    assert links
    assert [] == [link for link in links if not link.startswith("https://")]
    assert "```mermaid" not in README


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_to_the_repository_lead_to_a_file(page: str) -> None:
    """A link to a file of this repository names one that exists."""
    text = PAGES.get(page) or (ROOT / page).read_text()
    paths = re.findall(rf"{re.escape(REPOSITORY)}/(?:blob|tree)/main/([^\s)#]+)", text)

    assert [] == [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_files_named_in_the_text_exist(page: str) -> None:
    """A page that names a Python file of this repository keeps up with its renaming."""
    text = PAGES.get(page) or (ROOT / page).read_text()
    known = [
        f"/{path.relative_to(ROOT)}"
        for folder in ("truecaller_vbc", "tests", "benchmarks", "docs")
        for path in _files(folder)
    ]
    named = re.findall(r"`(?:python )?([\w/]+\.py)`|^python (\S+\.py)", text, re.MULTILINE)

    assert [] == [name for names in named if not any(file.endswith(f"/{(name := ''.join(names))}") for file in known)]


def _files(folder: str) -> list[Path]:
    return list((ROOT / folder).rglob("*.py"))


def test_project_urls_lead_to_a_file() -> None:
    """The links on the PyPI page belong to one repository and name files that exist."""
    for url in PROJECT["urls"].values():
        assert url.startswith(REPOSITORY)
        path = url.removeprefix(REPOSITORY).partition("/blob/main/")[2]
        assert (ROOT / path).exists()


def test_commands_name_what_exists() -> None:
    """The extras and the script of the set-up commands exist."""
    named = re.findall(
        r"-e '\.\[([\w,]+)\]'", "\n".join([README, (ROOT / "CONTRIBUTING.md").read_text(), *PAGES.values()])
    )

    assert {extra for extras in named for extra in extras.split(",")} <= PROJECT["optional-dependencies"].keys()
    assert "truecaller-vbc" in PROJECT["scripts"]


def test_dependency_page_has_every_package() -> None:
    """Each dependency has its reason."""
    text = PAGES["docs/dependencies.md"].lower().replace("redis-py", "redis").replace("myst", "myst-parser")
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for requirement in group:
            package = re.split(r"[\[<>=;]", requirement)[0]
            assert package == PROJECT["name"] or package in text, package
