"""Check the permissions of all files, existing links, and the process's command line."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import pytest

from truecaller_vbc import FileStore, StoreError, TokenError, VBCSession
from truecaller_vbc.sandbox import Sandbox

from ..cli.cli_process import environment
from ..requests.two_origins import CREDENTIALS, NO_GRACE, Origin
from .hidden import Hidden

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Set an umask that allows everything."""
    before = os.umask(0)
    yield
    os.umask(before)


def _modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in directory.iterdir()}


async def _a_session(api: Origin, path: Path) -> None:
    async with VBCSession(CREDENTIALS, base_url=api.url, policy=NO_GRACE, store=FileStore(path)) as vbc:
        async with vbc.get("/x") as response:
            assert response.status == 200


@pytest.mark.usefixtures("open_umask")
async def test_all_files_are_for_their_owner(api: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory, the file, its locks, a damaged copy and temporary files are for their owner only."""
    path = tmp_path / "a" / "store" / "token.json"
    written: list[tuple[Path, int]] = []
    flush = os.fsync

    def spy(descriptor: int) -> None:
        place = Path(f"/proc/self/fd/{descriptor}").readlink() if Path("/proc/self/fd").exists() else path
        written.append((place, os.fstat(descriptor).st_mode))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    await _a_session(api, path)
    path.write_text("rubble with a token in it")
    await _a_session(api, path)

    files = [(place, mode) for place, mode in written if stat.S_ISREG(mode)]
    assert files
    assert all(mode & OTHERS == 0 and place.parent == path.parent for place, mode in files)
    modes = _modes(path.parent)
    assert all(mode & OTHERS == 0 for mode in modes.values()), modes
    assert {"token.json", "token.json.corrupt", "token.json.lock"} <= set(modes)
    assert not [name for name in modes if name.startswith(".")]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("end", [".lock", ".corrupt", ""])
async def test_link_of_another_user_is_not_followed(api: Origin, tmp_path: Path, end: str) -> None:
    """A link that another user made in a shared directory is neither followed nor its target changed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o1777)
    path = directory / "token.json"
    if end == ".corrupt":
        path.touch(0o600)
        path.write_text("rubble")
    Path(f"{path}{end}").symlink_to(victim)
    try:
        await _a_session(api, path)
    except (StoreError, TokenError) as error:
        assert "victim" not in str(error)
    with pytest.raises(StoreError) if end != ".corrupt" else nullcontext():
        await FileStore(path).write("key", '{"revision": 9}')
    assert victim.read_text() == "precious"


@pytest.mark.slow
async def test_command_line_shows_no_secret(tmp_path: Path) -> None:
    """Neither the arguments of ``truecaller-vbc token``, which all users can list, nor its output shows a secret."""
    path = tmp_path / "token.json"
    async with Sandbox() as sandbox:
        hidden = Hidden(sandbox.credentials.api_key)
        sandbox.fail_next("token", delay=1.0)
        variables = {**os.environ, **environment(sandbox), "TRUECALLER_VBC_STORE": f"file://{path}"}
        command = (sys.executable, "-m", "truecaller_vbc", "token")
        process = await asyncio.create_subprocess_exec(*command, env=variables, stdout=PIPE, stderr=PIPE)
        async with asyncio.timeout(20):
            while not sandbox.token_requests and process.returncode is None and not path.exists():
                await asyncio.sleep(0.02)
            shown = Path(f"/proc/{process.pid}/cmdline")
            hidden.none_in(shown.read_text() if shown.exists() else "")
            output = b"".join(await process.communicate()).decode()
        assert (process.returncode, sandbox.mints) == (0, 1), output
    text = path.read_text()
    hidden.none_in(text)
    values = re.findall(r'value\\*": ?\\*"([^"\\]+)', text)
    assert values
    hidden.add(*values)
    hidden.none_in(output)
    assert all(mode & OTHERS == 0 for mode in _modes(tmp_path).values())
