"""The file store's hygiene: whose the file is, who can read it, and what happens to one that is damaged."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from truecaller_vbc import ConfigurationError, FileStore, StoreError, StoreRefusedError, VBCSession
from truecaller_vbc.sandbox import Sandbox

DOCUMENT = '{"revision": 1}'
KEY = "a" * 32


async def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """0600 from its creation, whatever the umask; so are its locks; a new directory is 0700; nothing else is left."""
    mask = os.umask(0)
    try:
        store = FileStore(tmp_path / "new" / "token.json")
        async with store.lease(KEY, 60):
            await store.write(KEY, DOCUMENT)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    finally:
        os.umask(mask)

    assert set(modes.values()) == {0o600}
    assert {name for name in modes if not name.endswith((".lock", ".lease"))} == {"token.json"}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
async def test_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """It is no outage: the caller gets the error each time, and mending it mends everything."""
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
    """Nobody leads us to another file."""
    await FileStore(tmp_path / "real.json").write(KEY, DOCUMENT)
    (tmp_path / "token.json").symlink_to(tmp_path / "real.json")
    with pytest.raises(StoreRefusedError, match="symbolic link"):
        await FileStore(tmp_path / "token.json").read(KEY)


async def test_directory_as_file_is_refused(tmp_path: Path) -> None:
    """What is no regular file is not read."""
    (tmp_path / "token.json").mkdir()
    with pytest.raises(StoreError, match="regular file"):
        await FileStore(tmp_path / "token.json").read(KEY)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
async def test_another_users_file_is_refused(tmp_path: Path) -> None:
    """A file, or a directory, of another user is not ours to trust."""
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
    """Somebody else could put another file in its place; with the sticky bit, as in /tmp, they cannot."""
    tmp_path.chmod(0o777)
    with pytest.raises(StoreRefusedError, match="others can write"):
        await FileStore(tmp_path / "token.json").read(KEY)
    tmp_path.chmod(0o1777)
    assert await FileStore(tmp_path / "token.json").read(KEY) is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"documents": 7}', "\x00" * 100, '{"documents": {"a": '])
async def test_damaged_file_is_set_aside(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, kept as .corrupt, and never fatal."""
    path = tmp_path / "token.json"
    path.write_text(damage)
    path.chmod(0o600)

    assert await FileStore(path).read(KEY) is None
    assert Path(f"{path}.corrupt").read_text() == damage
    assert "damaged" in caplog.text
    assert await FileStore(path).write(KEY, DOCUMENT)
    assert await FileStore(path).read(KEY) == DOCUMENT


async def test_a_new_file_is_not_taken_for_the_damaged_one(tmp_path: Path) -> None:
    """Who finds a damaged file waits for whoever writes a new one, and looks again."""
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
    """The file is in its place all the same, and it is no outage."""
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
    """No file may grow beyond 10 bytes: to a write it is what a full disk is, an OSError in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_full_disk_is_survived(tmp_path: Path) -> None:
    """What was there stays whole, nothing is left lying about, and the session goes on in memory and says so once."""
    events: list[str] = []
    path = tmp_path / "token.json"
    await FileStore(path).write(KEY, DOCUMENT)
    with _full_disk():
        with pytest.raises(StoreError, match="could not be"):
            await FileStore(path).write(KEY, '{"revision": 2}')
        async with (
            Sandbox() as sandbox,
            VBCSession(
                sandbox.credentials,
                base_url=sandbox.base_url,
                store=FileStore(path),
                on_event=lambda event: events.append(type(event).__name__),
            ) as vbc,
        ):
            await vbc.token()
            assert sandbox.mints == 1

    assert await FileStore(path).read(KEY) == DOCUMENT
    assert not list(tmp_path.glob(".token*"))
    assert events == ["StoreUnavailable", "TokenMinted"]


async def test_write_is_flushed_before_it_takes_the_place_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that loses its power has the old file or the new one: first all of the new bytes, then its name."""
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


async def test_directory_that_cannot_be_written_is_survived() -> None:
    """A read-only place is a store that is down."""
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, store="file:///proc/nowhere/token.json") as vbc,
    ):
        await vbc.token()
        assert sandbox.mints == 1


@pytest.mark.parametrize("path", ["", " ", "dir/", None, 7])
def test_path_that_is_none_is_refused(path: object) -> None:
    """A typed error that says what is needed."""
    with pytest.raises(ConfigurationError, match="path of a file"):
        FileStore(path)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["file://token.json", "file://", "file:///a?b", "files:///a", "memory://x", "redis"])
def test_url_that_is_none_is_refused(url: str) -> None:
    """The message has the forms that there are, and not the URL."""
    credentials = Sandbox().credentials
    with pytest.raises(ConfigurationError, match="store="):
        VBCSession(credentials, store=url)


async def test_url_is_decoded(tmp_path: Path) -> None:
    """``%20`` in a file URL is a space."""
    credentials = Sandbox().credentials
    session = VBCSession(credentials, store=f"file://{tmp_path}/my%20token.json")
    assert "my token.json" in repr(session._our_store)


async def test_two_accounts_share_a_file(tmp_path: Path) -> None:
    """Documents of two accounts lie side by side; a write to one keeps the other."""
    store = FileStore(tmp_path / "token.json")
    await store.write("a" * 32, DOCUMENT)
    await store.write("b" * 32, '{"revision": 9}')
    assert await store.read("a" * 32) == DOCUMENT
    assert await store.read("b" * 32) == '{"revision": 9}'
