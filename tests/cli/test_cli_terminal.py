"""Run commands on a terminal and with closed streams."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from truecaller_vbc.sandbox import Sandbox

from .cli_process import PATIENCE, end, environment, start
from .record_files import LABEL, write_csv

pytestmark = pytest.mark.slow

pty = pytest.importorskip("pty")

FEATURE_SET = "069d2e3a-41e6-41f9-a768-157d7e3bd6b9"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


async def _on_a_terminal(sandbox: Sandbox, *arguments: str | Path, **variables: str) -> tuple[int, str]:
    """Run a command on a terminal, and return exit code and output."""
    own_end, other_end = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "truecaller_vbc", *map(str, arguments)),
        env=environment(sandbox) | {"TERM": "xterm-256color", "COLUMNS": "120"} | variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=other_end,
        stderr=other_end,
    )
    os.close(other_end)
    read = asyncio.create_task(asyncio.to_thread(_read, own_end))
    try:
        code = await asyncio.wait_for(process.wait(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
    return code, (await read).decode()


def _read(descriptor: int) -> bytes:
    found = b""
    try:
        while part := os.read(descriptor, 65536):
            found += part
    except OSError:  # Linux's way to report that the other side has closed
        pass
    finally:
        os.close(descriptor)
    return found


async def test_bar(sandbox: Sandbox, tmp_path: Path) -> None:
    """The progress bar shows the cursor again at its end."""
    sandbox.set_outage("batch", delay=0.4)
    code, seen = await _on_a_terminal(sandbox, "calls", "push", write_csv(tmp_path / "in.csv", 600))

    assert code == 0
    assert "pushing" in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")
    assert "600 records: 600 acknowledged" in seen
    assert seen.rstrip().endswith("in.csv")


async def test_table(sandbox: Sandbox) -> None:
    """Tables have escape codes, unless NO_COLOR is set."""
    plain = await _on_a_terminal(sandbox, "labels", "list", NO_COLOR="1")
    drawn = await _on_a_terminal(sandbox, "labels", "list")

    assert plain[0] == drawn[0] == 0
    assert "\x1b" not in plain[1]
    assert "\x1b[" in drawn[1]
    assert "c6d86658-008d-4c08-98fb-2bf2649d59a5" in plain[1]


NUMBER = "+911234567801"


@pytest.mark.parametrize("columns", ["80", "50"])
async def test_what_one_copies_is_whole(sandbox: Sandbox, tmp_path: Path, columns: str) -> None:
    """The first column of a table is whole on one line, however narrow the terminal; the others are all there."""
    (tmp_path / "numbers").write_text(NUMBER)
    sets = await _on_a_terminal(sandbox, "numbers", "feature-sets", NO_COLOR="1", COLUMNS=columns)
    await _on_a_terminal(sandbox, "numbers", "publish", FEATURE_SET, tmp_path / "numbers")
    numbers = await _on_a_terminal(sandbox, "numbers", "list", NO_COLOR="1", COLUMNS=columns)
    labels = await _on_a_terminal(sandbox, "labels", "list", NO_COLOR="1", COLUMNS=columns)

    for (code, seen), wanted in ((sets, FEATURE_SET), (numbers, NUMBER), (labels, LABEL)):
        assert code == 0
        lines = seen.splitlines()
        assert any(line.split()[:1] == [wanted] for line in lines)
        assert max(map(len, lines)) <= int(columns)
    assert "dynamic" in labels[1].replace("\r\n", "")


async def test_ids_on_a_terminal_that_is_narrower_than_they_are(sandbox: Sandbox) -> None:
    """They are folded there, and nothing of them is left out."""
    _, seen = await _on_a_terminal(sandbox, "labels", "list", NO_COLOR="1", COLUMNS="30")

    assert LABEL in seen.replace("\r\n", "").replace(" ", "")


async def test_a_long_note_below_the_bar(sandbox: Sandbox, tmp_path: Path) -> None:
    """On a narrow terminal the note is wrapped, with what the push waits for and until when."""
    sandbox.set_outage("labels", status=503)
    command = ("calls", "push", write_csv(tmp_path / "in.csv", 3), "--give-up-after", "3s")
    code, seen = await _on_a_terminal(sandbox, *command, COLUMNS="50", NO_COLOR="1")

    assert code == 3
    words = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", seen).split())
    assert re.search(r"waiting for the API: HTTP 503.*next look in \d+ s", words)


async def _in_a_shell(sandbox: Sandbox, command: str) -> tuple[int, str]:
    """Run a shell command with redirected streams, and return exit code and standard error."""
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", f"exec {sys.executable} -m truecaller_vbc {command}"),
        env=environment(sandbox),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    ended = await end(process)
    return ended.code, ended.err


async def test_output_that_cannot_be_written(sandbox: Sandbox, tmp_path: Path) -> None:
    """The exit code of a push is the same if its output cannot be written."""
    path = write_csv(tmp_path / "in.csv", 3)
    own_end, other_end = os.pipe()
    os.close(own_end)
    process = await start(sandbox, "calls", "push", path, out=other_end)
    os.close(other_end)
    closed_pipe = await end(process)
    no_streams = await _in_a_shell(sandbox, f"calls push {path} >&- 2>&-")

    assert closed_pipe.code == 0
    assert no_streams == (0, "")
    if not Path("/dev/full").exists():  # not Linux
        return
    full_disk = await _in_a_shell(sandbox, f"calls push {path} > /dev/full")
    assert full_disk == (0, "error: how it ended cannot be printed (No space left on device)\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [("calls push - --state {}/j", 2), ("numbers publish x -", 2), ("labels list >&-", 0)],
)
async def test_without_standard_streams(sandbox: Sandbox, tmp_path: Path, command: str, code: int) -> None:
    """Closed standard streams, as of a daemon, cause no traceback."""
    ended, err = await _in_a_shell(sandbox, f"{command.format(tmp_path)} <&-")

    assert ended == code
    assert err == ("error: there is no standard input to read - from: give a FILE\n" if code else "")
