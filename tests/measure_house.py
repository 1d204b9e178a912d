"""Print the size of the package, as a whole and by folder: ``python -m tests.measure_house``.

A line of code is one that is neither blank, nor a comment, nor part of a docstring.
"""

from __future__ import annotations

import ast
import io
import statistics
import tokenize
from pathlib import Path
from typing import Final

import attrs

PACKAGE: Final = Path(__file__).parents[1] / "truecaller_vbc"
_NO_CODE: Final = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)


@attrs.frozen
class FileSize:
    """What was counted in one file."""

    folder: str
    code: int
    functions: list[int]


def measure(path: Path) -> FileSize:
    """Count lines of code, and the lines of each function, in one file."""
    text = path.read_text()
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    functions = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.append((node.end_lineno or node.lineno) - node.lineno + 1)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            docstring = node.body[0]
            code.difference_update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    folder = path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else "(root)"
    return FileSize(folder, len(code), functions)


def _print_row(name: str, files: list[FileSize]) -> None:
    lengths = sorted(length for file in files for length in file.functions)
    p90 = lengths[len(lengths) * 9 // 10] if lengths else 0
    median = statistics.median(lengths or [0])
    print(f"{name:10} {len(files):5} {sum(file.code for file in files):6,} {len(lengths):9} {median:6g} {p90:4}")


def main() -> None:
    """Print one row for each folder, and one for the whole package."""
    files = [measure(path) for path in sorted(PACKAGE.rglob("*.py"))]
    print(f"{'folder':10} {'files':>5} {'code':>6} {'functions':>9} {'median':>6} {'p90':>4}")
    for folder in sorted({file.folder for file in files}):
        _print_row(folder, [file for file in files if file.folder == folder])
    _print_row("all", files)


if __name__ == "__main__":
    main()
