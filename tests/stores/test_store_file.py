"""Ownership and permissions of the file store's files, damaged files, and failing disks."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from truecaller_vbc import ConfigurationError, FileStore, StoreError, StoreRefusedError, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox

DOCUMENT = '{"revision": 1}'
KEY = "a" * 32


async def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """Files and locks are created with 0600 and the directory with 0700, whatever the umask; no other file is left."""
    mask = os.umask(0)
    try:
        store = FileStore(tmp_path / "new" / "token.json")
        async with store.lease(KEY, 60):
            await store.write(KEY, DOCUMENT)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    finally:
        os.umask(mask)

    assert set(modes.values()) == {0o600}
    assert {name for name in modes if not name.endswith((".lock", ".lease", ".gate"))} == {"token.json"}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
async def test_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Each call raises the error until the permissions are mended."""
    path = tmp_path / "token.json"
    await FileStore(path).write(KEY, DOCUMENT)
    path.chmod(mode)
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=f"file://{path}") as vbc,
    ):
        for _ in range(2):
            with pytest.raises(StoreRefusedError, match="chmod 600"):
                await vbc.token()
        assert sandbox.token_requests == 0

        path.chmod(0o600)
        await vbc.token()


async def test_symbolic_link_is_refused(tmp_path: Path) -> None:
    """A symbolic link in place of the file is refused."""
    await FileStore(tmp_path / "real.json").write(KEY, DOCUMENT)
    (tmp_path / "token.json").symlink_to(tmp_path / "real.json")
    with pytest.raises(StoreRefusedError, match="symbolic link"):
        await FileStore(tmp_path / "token.json").read(KEY)


async def test_directory_as_file_is_refused(tmp_path: Path) -> None:
    """A directory in place of the file is refused."""
    (tmp_path / "token.json").mkdir()
    with pytest.raises(StoreError, match="regular file"):
        await FileStore(tmp_path / "token.json").read(KEY)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
async def test_another_users_file_is_refused(tmp_path: Path) -> None:
    """A file or directory of another user is refused."""
    path = tmp_path / "token.json"
    await FileStore(path).write(KEY, DOCUMENT)
    os.chown(path, 1234, -1)
    with pytest.raises(StoreRefusedError, match="belongs to another user"):
        await FileStore(path).read(KEY)
    os.chown(path, 0, -1)
    os.chown(tmp_path, 1234, -1)
    with pytest.raises(StoreRefusedError, match="directory of another user"):
        await FileStore(path).read(KEY)


async def test_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """A directory that others can write is refused, unless it has the sticky bit, as /tmp has."""
    tmp_path.chmod(0o777)
    with pytest.raises(StoreRefusedError, match="others can write"):
        await FileStore(tmp_path / "token.json").read(KEY)
    tmp_path.chmod(0o1777)
    assert await FileStore(tmp_path / "token.json").read(KEY) is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"documents": 7}', "\x00" * 100, '{"documents": {"a": '])
async def test_damaged_file_is_set_aside(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file is logged, kept as .corrupt, and replaced."""
    path = tmp_path / "token.json"
    path.write_text(damage)
    path.chmod(0o600)

    assert await FileStore(path).read(KEY) is None
    assert Path(f"{path}.corrupt").read_text() == damage
    assert "damaged" in caplog.text
    assert await FileStore(path).write(KEY, DOCUMENT)
    assert await FileStore(path).read(KEY) == DOCUMENT


async def test_file_of_many_gigabytes_is_set_aside(tmp_path: Path) -> None:
    """A file that is too long is not read into memory, and one is never made that long."""
    path = tmp_path / "token.json"
    path.touch(0o600)
    os.truncate(path, 2**40)
    store = FileStore(path)

    async with asyncio.timeout(5):
        assert await store.write(KEY, DOCUMENT)
    assert Path(f"{path}.corrupt").stat().st_size == 2**40
    with pytest.raises(StoreRefusedError, match="too many accounts"):
        await store.write("b" * 32, json.dumps({"revision": 1, "more": "x" * 2**24}))
    assert await store.read(KEY) == DOCUMENT


async def test_a_new_file_is_not_taken_for_the_damaged_one(tmp_path: Path) -> None:
    """Before a damaged file is set aside, it is read again under the lock, since it may have been replaced."""
    path = tmp_path / "token.json"
    await FileStore(path).write(KEY, DOCUMENT)
    whole = path.read_text()
    path.write_text(whole[:9])
    with FileLock(f"{path}.lock"):
        reading = asyncio.create_task(FileStore(path).read(KEY))
        await asyncio.sleep(0.2)
        assert not reading.done()
        path.write_text(whole)

    assert await reading == DOCUMENT
    assert not Path(f"{path}.corrupt").exists()


async def test_a_file_system_that_flushes_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot flush directories is accepted."""
    flush = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    assert await FileStore(tmp_path / "token.json").write(KEY, DOCUMENT)
    assert await FileStore(tmp_path / "token.json").read(KEY) == DOCUMENT


@contextmanager
def _full_disk() -> Iterator[None]:
    """Limit files to 10 bytes, so that writing fails like on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_full_disk_is_survived(tmp_path: Path) -> None:
    """On a full disk the old file stays whole, and only a session that has worked goes on."""
    events: list[str] = []
    path = tmp_path / "token.json"
    async with Sandbox() as sandbox:
        options: dict[str, Any] = {"base_url": sandbox.base_url, "policy": TokenPolicy().scaled(1 / 1200)}
        async with VBCSession(
            sandbox.credentials,
            store=FileStore(path),
            on_event=lambda event: events.append(type(event).__name__),
            **options,
        ) as vbc:
            await vbc.token()
            whole = path.read_text()
            with _full_disk():
                with pytest.raises(StoreRefusedError, match="cannot be used"):
                    await FileStore(path).write(KEY, DOCUMENT)
                sandbox.revoke_all()
                await asyncio.sleep(0.05)
                async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
                    assert response.status == 200
                assert sandbox.mints == 2
                assert path.read_text() == whole
                path.unlink()
                async with VBCSession(sandbox.credentials, store=FileStore(path), **options) as late:
                    with pytest.raises(StoreRefusedError, match="cannot be used"):
                        await late.token()
            assert sandbox.mints == 2

    assert not list(tmp_path.glob(".token*"))
    # What the store missed is saved on close, when the disk has room again.
    assert events == ["TokenMinted", "TokenRejected", "StoreUnavailable", "TokenMinted", "StoreRecovered"]


async def test_write_is_flushed_before_it_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file is flushed before it replaces the old one, and the directory after that."""
    path = tmp_path / "token.json"
    flushed: list[tuple[bool, bool, bool]] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        status = os.fstat(descriptor)
        whole = status.st_size > len(DOCUMENT)
        flushed.append((stat.S_ISDIR(status.st_mode), whole, path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    await FileStore(path).write(KEY, DOCUMENT)

    (new, directory) = flushed
    assert new == (False, True, False)
    assert (directory[0], directory[2]) == (True, True)


async def test_directory_that_cannot_be_made_is_refused() -> None:
    """A place that no waiting mends is an error with a remedy, before any token request."""
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, store="file:///proc/nowhere/token.json") as vbc,
    ):
        with pytest.raises(StoreRefusedError, match="use another path"):
            await vbc.token()
        assert sandbox.token_requests == 0


@pytest.mark.parametrize("path", ["", " ", "dir/", None, 7])
def test_invalid_path_is_refused(path: object) -> None:
    """A path that is not the path of a file raises an error that says what is needed."""
    with pytest.raises(ConfigurationError, match="path of a file"):
        FileStore(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["file://token.json", "file://", "file:///a?b", "files:///a", "memory://x", "redis"])
def test_invalid_url_is_refused(url: str) -> None:
    """The error lists the supported forms, and does not show the URL."""
    credentials = Sandbox().credentials
    with pytest.raises(ConfigurationError, match="store="):
        VBCSession(credentials, store=url)


async def test_url_is_decoded(tmp_path: Path) -> None:
    """``%20`` in a file URL is a space."""
    credentials = Sandbox().credentials
    session = VBCSession(credentials, store=f"file://{tmp_path}/my%20token.json")
    assert "my token.json" in repr(session._our_store)


async def test_two_accounts_share_a_file(tmp_path: Path) -> None:
    """A write to the document of one account keeps the document of the other."""
    store = FileStore(tmp_path / "token.json")
    await store.write("a" * 32, DOCUMENT)
    await store.write("b" * 32, '{"revision": 9}')
    assert await store.read("a" * 32) == DOCUMENT
    assert await store.read("b" * 32) == '{"revision": 9}'
