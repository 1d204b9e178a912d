"""Tests of the store that one-shot commands use by default."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from .cli_runner import invoke, sandbox_in_a_thread


def test_commands_share_a_token_by_default() -> None:
    """Thirty commands in a row cost one mint: the token is in the user's cache directory, private to its owner."""
    with sandbox_in_a_thread() as sandbox:
        for command in (("token",), ("labels", "list"), ("numbers", "feature-sets")) * 10:
            result = invoke(sandbox, *command)
            assert result.code == 0, result

        path = Path(os.environ["XDG_CACHE_HOME"], "truecaller_vbc", "token.json")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert sandbox.mints == 1

        assert invoke(sandbox, "labels", "list", "--store", "memory://").code == 0
        assert sandbox.mints == 2


def test_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a writable cache directory the commands work, and share nothing."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with sandbox_in_a_thread() as sandbox:
        assert invoke(sandbox, "labels", "list").code == 0


@pytest.mark.parametrize("command", [("token",), ("labels", "list"), ("numbers", "list")])
def test_help_names_the_default_store(command: tuple[str, ...]) -> None:
    """--help says where the token is kept, and how to keep none."""
    help_text = invoke(None, *command, "--help").out

    assert "cache" in help_text
    assert "memory://" in help_text
