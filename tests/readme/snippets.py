"""Collect the Python snippets of the README and of docs/, by page and heading."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}
_BLOCK: Final = re.compile(
    r"^```(?P<language>\S*)\n(?P<body>.*?)^```$|^#+ (?P<heading>[^\n]+)$", re.MULTILINE | re.DOTALL
)
_USED: Final[set[tuple[str, str]]] = set()


def _collect() -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for page, text in PAGES.items():
        heading = ""
        for block in _BLOCK.finditer(text):
            heading = block["heading"] or heading
            if block["language"] == "python":
                assert (page, heading) not in found, f"{page}: two snippets under {heading!r}; give each a heading"
                found[page, heading] = block["body"]
    return found


_SNIPPETS: Final = _collect()


def snippet(page: str, heading: str) -> str:
    """Return the snippet under a heading, and note that it has a test."""
    _USED.add((page, heading))
    return _SNIPPETS[page, heading]


def unused() -> set[tuple[str, str]]:
    """Return page and heading of the snippets that no test asked for."""
    return _SNIPPETS.keys() - _USED


def run(code: str, **names: Any) -> dict[str, Any]:
    """Run a snippet as a module, with `names` defined, and return its names."""
    module = {"__name__": "snippet", **names}
    exec(compile(code, "snippet", "exec"), module)  # noqa: S102
    return module


async def run_cell(code: str, names: dict[str, Any]) -> None:
    """Run a snippet as a notebook does: `await` is allowed, and names stay for the next cell."""
    cell: Any = eval(compile(code, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)  # noqa: S307
    if inspect.isawaitable(cell):
        await cell
