"""Locks whose owner was stopped, or was forked, at the one moment at which no deadline is known."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from truecaller_vbc.stores import locks
from truecaller_vbc.stores.locks import try_lock

if sys.platform == "win32":
    pytest.skip("Windows has other locks", allow_module_level=True)

import fcntl


@pytest.mark.parametrize("name", ["lock.gate", "lock"])
async def test_lock_without_a_deadline_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A process that stands still between two steps of taking a lock keeps it no longer than its seconds."""
    monkeypatch.setattr(locks, "_GATE_SECONDS", 0.2)
    with (tmp_path / name).open("w") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        assert try_lock(tmp_path / "lock", 0.2) is None
        async with asyncio.timeout(10):
            while (held := try_lock(tmp_path / "lock", 0.2)) is None:
                await asyncio.sleep(0.02)
        assert try_lock(tmp_path / "lock", 60) is None
        held.release()


async def test_gate_in_use_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that changes hands is left alone, however long it is found locked."""
    monkeypatch.setattr(locks, "_GATE_SECONDS", 0.1)
    gate = tmp_path / "lock.gate"
    with gate.open("w") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        inode = gate.stat().st_ino
        for turn in range(10):
            (tmp_path / "lock.gate").touch()
            assert try_lock(tmp_path / "lock", 60) is None, turn
            await asyncio.sleep(0.03)
        assert gate.stat().st_ino == inode
