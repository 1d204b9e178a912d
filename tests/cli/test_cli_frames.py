"""Check that the frames of a command that fails show no receiver's number."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ..security.frames import NUMBER, shows_no_number
from .cli_runner import invoke, sandbox_in_a_thread
from .record_files import CALLER, HEADER, HOUR, LABEL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "command"),
    [
        ({"status": 403}, "push"),
        ({"drop": "after"}, "push"),
        ({"status": 400, "body": {"slug": "invalid-input", "message": f"no user {NUMBER}"}}, "push"),
        ({"status": 500}, "push"),
        ({"status": 403}, "outcomes"),
    ],
)
def test_command_line_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], command: str
) -> None:
    """The errors that a push of a file ends with have no frame that shows a number."""
    seen: list[BaseException] = []

    def describe(error: BaseException) -> str:
        seen.append(error)
        return "described"

    for name, module in list(sys.modules.items()):
        if name.startswith("truecaller_vbc.cli") and hasattr(module, "describe"):
            monkeypatch.setattr(module, "describe", describe)
    path = tmp_path / "in.csv"
    now = int(time.time() * 1000)
    path.write_text(f"{HEADER}\n{CALLER},{NUMBER},{now},{now + HOUR},{LABEL}\n")
    with sandbox_in_a_thread() as sandbox:
        if command == "outcomes":
            invoke(sandbox, "calls", "push", path)
        sandbox.set_outage("batch" if command == "push" else "status", **fault)
        invoke(sandbox, "calls", command, path, "--wait", "1s") if command == "push" else invoke(
            sandbox, "calls", command, path
        )
    assert seen
    for error in seen:
        shows_no_number(error)
