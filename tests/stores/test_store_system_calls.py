"""Tests of system calls of the file store that fail."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from truecaller_vbc import FileStore, StoreRefusedError, VBCSession
from truecaller_vbc.sandbox import Sandbox

CALLS: dict[str, tuple[Any, str]] = {
    "open": (os, "open"),
    "fsync": (os, "fsync"),
    "flock": (fcntl, "flock"),
    "ftruncate": (os, "ftruncate"),
    "pwrite": (os, "pwrite"),
    "mkdir": (os, "mkdir"),
    "stat": (os, "fstat"),
}
PERMANENT = [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT]
PASSING = [errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETIMEDOUT, errno.ESTALE]


def _fail(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> Callable[[], None]:
    """Let a system call fail for the files of the store. Return what ends that."""
    module, name = CALLS[call]
    real = getattr(module, name)
    failing = [True]

    def broken(*arguments: Any, **options: Any) -> Any:
        named = arguments[0]
        if isinstance(named, int) and call != "pwrite":
            named = Path(f"/proc/self/fd/{named}").readlink()
        if failing and (call == "pwrite" or "place" in str(named)):
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, broken)
    return failing.clear


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system has no /proc")
@pytest.mark.parametrize("number", [*PERMANENT, *PASSING], ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("call", CALLS)
async def test_failing_system_call(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    number: int,
) -> None:
    """A permanent fault is refused at the first use; a passing one costs one mint and an ERROR, and is mended later."""
    path = tmp_path / "place" / "token.json"
    end = _fail(monkeypatch, call, number)
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=FileStore(path)) as vbc,
    ):
        if number in PERMANENT:
            with pytest.raises(StoreRefusedError, match="so "):
                await vbc.token()
            assert sandbox.token_requests == 0
        else:
            await vbc.token()
            assert "not counted by others" in caplog.text
            assert any(record.levelno == logging.ERROR for record in caplog.records)
        end()
        token = await vbc.token()
        await vbc._holder.save_back()
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=FileStore(path)) as other:
            assert (await other.token()).value == token.value
        assert sandbox.mints == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
async def test_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A file system that has no locks is an error with a remedy, before the first token request."""
    _fail(monkeypatch, "flock", number)
    store = FileStore(tmp_path / "place" / "token.json")
    async with Sandbox() as sandbox, VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=store) as vbc:
        with pytest.raises(StoreRefusedError, match="has no locks: use"):
            await vbc.token()
        assert sandbox.token_requests == 0
