"""Tests of places that cannot be used, of stopped owners, and of stores that outlive a loop or a process."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import errno
import json
import logging
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from truecaller_vbc import FileStore, MemoryStore, RedisStore, StoreRefusedError, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.stores import file as file_store
from truecaller_vbc.stores.locks import try_lock

from ..redis_server import redis_server

KEY = "a" * 32
DOCUMENT = '{"revision": 1}'
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


async def _refusal(store: str) -> tuple[str, int]:
    """Return the error of a session that starts with this store, and its token requests."""
    async with Sandbox() as sandbox, VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=store) as vbc:
        with pytest.raises(StoreRefusedError) as caught:
            await vbc.token()
        return str(caught.value), sandbox.token_requests


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "long name", "file in the path", "loop"])
async def test_impossible_place_is_refused_before_the_first_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A FIFO, a directory, a name too long, a file as a directory: an error with a remedy, and no token request."""
    path = tmp_path / "token.json"
    if kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # the name of a socket must be short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    elif kind == "directory":
        path.mkdir()
    elif kind == "long name":
        path = tmp_path / ("t" * 300)
    elif kind == "file in the path":
        path.touch(0o600)
        path /= "token.json"
    else:
        path.symlink_to(path)
    async with asyncio.timeout(5):
        message, requests = await _refusal(path.as_uri())

    assert "use" in message or "name" in message or "regular file" in message
    assert requests == 0


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EFBIG, errno.EILSEQ])
async def test_failing_replacement_is_refused_at_first_and_survived_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A file that cannot be replaced is a setting at the first use, and an outage once the store has worked."""
    replace = Path.replace

    def broken(self: Path, target: Any) -> Path:
        if target == tmp_path / "token.json":
            raise OSError(number, os.strerror(number))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", broken)
        message, requests = await _refusal((tmp_path / "token.json").as_uri())
    assert ("so " in message, requests) == (True, 0)

    policy = TokenPolicy().scaled(1 / 1200)
    async with Sandbox() as sandbox:
        async with VBCSession(
            sandbox.credentials, base_url=sandbox.base_url, store=FileStore(tmp_path / "token.json"), policy=policy
        ) as vbc:
            first = await vbc.token()
            monkeypatch.setattr(Path, "replace", broken)
            sandbox.revoke_all()
            await asyncio.sleep(0.05)
            async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
                assert response.status == 200
            assert await vbc.token() != first


@pytest.mark.parametrize("change", ["directory", "pipe", "vanished", "parent is a file"])
async def test_place_that_is_taken_away_later_is_survived(tmp_path: Path, change: str) -> None:
    """A store that has worked, and whose place is then removed or replaced, costs no caller its token."""
    path = tmp_path / "place" / "token.json"
    policy = TokenPolicy().scaled(1 / 1200)
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=FileStore(path), policy=policy) as vbc,
    ):
        await vbc.token()
        shutil.rmtree(path.parent)
        if change == "parent is a file":
            path.parent.touch()
        elif change != "vanished":
            path.parent.mkdir(0o700)
            path.mkdir() if change == "directory" else os.mkfifo(path)
        sandbox.revoke_all()
        await asyncio.sleep(0.05)
        async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
            assert response.status == 200
        assert sandbox.mints == 2


@contextmanager
def _mounted(*arguments: str | Path) -> Iterator[None]:
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not mount or not umount or subprocess.run([mount, *arguments], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no mounts")
    try:
        yield
    finally:
        subprocess.run([umount, "-l", arguments[-1]], check=True)


@pytest.mark.slow
@pytest.mark.skipif(not IS_ROOT or sys.platform != "linux", reason="mounting needs root on Linux")
async def test_file_that_is_mounted_by_itself_is_refused(tmp_path: Path) -> None:
    """A bind mount of a single file cannot be replaced: the error says to mount its directory."""
    source, path = tmp_path / "source.json", tmp_path / "token.json"
    for each in (source, path):
        each.touch(0o600)
    source.write_text('{"documents": {}}')
    with _mounted("--bind", source, path):
        message, requests = await _refusal(path.as_uri())

    assert "mount its directory" in message
    assert requests == 0


@pytest.mark.slow
@pytest.mark.skipif(not IS_ROOT or sys.platform != "linux", reason="mounting needs root on Linux")
async def test_full_disk_is_refused(tmp_path: Path) -> None:
    """A full tmpfs is an error with a remedy, before the first token request."""
    with _mounted("-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", tmp_path):
        with (tmp_path / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        message, requests = await _refusal((tmp_path / "token.json").as_uri())

    assert "disk is full" in message
    assert requests == 0


OWNER = """
import sys, time
from pathlib import Path
from truecaller_vbc.stores.locks import try_lock
held = try_lock(Path(sys.argv[1]), float(sys.argv[2]))
print("held" if held else "free", flush=True)
time.sleep(60)
"""


@contextmanager
def _owner(path: Path, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", OWNER, path, str(seconds)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot stop a process")
def test_stopped_owner_loses_its_lock_after_its_seconds(tmp_path: Path) -> None:
    """A lock ends with its owner's death at once, and with its seconds where the owner is stopped."""
    path = tmp_path / "token.lease"
    with _owner(path, 60) as owner:
        assert try_lock(path, 1) is None
        owner.kill()
        owner.wait()
        held = try_lock(path, 1)
        assert held is not None
        held.release()
    with _owner(path, 0.3) as owner:
        owner.send_signal(signal.SIGSTOP)
        taken = None
        while taken is None:
            taken = try_lock(path, 60)
        owner.send_signal(signal.SIGCONT)
        assert taken.is_mine()
        assert try_lock(path, 1) is None
        taken.release()


@pytest.mark.slow
async def test_process_that_is_stopped_in_mid_mint_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Another process mints when the lease's seconds have passed, and the attempt of the stopped one counts."""
    policy = TokenPolicy().scaled(1 / 1200)  # a lease of 4 s
    script = (
        "import asyncio, sys\n"
        "from truecaller_vbc import TokenPolicy, VBCSession\n"
        "async def main():\n"
        "    async with VBCSession.from_env(policy=TokenPolicy().scaled(1 / 1200)) as vbc:\n"
        "        await vbc.token()\n"
        "asyncio.run(main())\n"
    )
    async with Sandbox() as sandbox:
        sandbox.fail_next("token", delay=float("inf"))
        store = (tmp_path / "token.json").as_uri()
        environment = {
            **os.environ,
            "TRUECALLER_VBC_CLIENT_ACCOUNT_ID": sandbox.credentials.client_account_id,
            "TRUECALLER_VBC_KEY_ID": sandbox.credentials.key_id,
            "TRUECALLER_VBC_API_KEY": str(sandbox.credentials.api_key),
            "TRUECALLER_VBC_BASE_URL": sandbox.base_url,
            "TRUECALLER_VBC_STORE": store,
        }
        stopped = await asyncio.create_subprocess_exec(sys.executable, "-c", script, env=environment)
        try:
            while not sandbox.token_requests:
                await asyncio.sleep(0.01)
            stopped.send_signal(signal.SIGSTOP)
            async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=store, policy=policy) as vbc:
                async with asyncio.timeout(10):
                    await vbc.token()
                assert sorted(entry.outcome for entry in vbc.ledger()) == ["minted"] or len(vbc.ledger()) == 2
        finally:
            stopped.kill()
            await stopped.wait()


async def test_store_of_one_loop_after_another(tmp_path: Path) -> None:
    """Twenty jobs with a loop each share one mint, with every kind of store and no close in between."""

    async def job(sandbox: Sandbox, store: Any) -> str:
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=store) as vbc:
            return (await vbc.token()).fingerprint

    with redis_server() as server:
        for store in (MemoryStore(), FileStore(tmp_path / "token.json"), RedisStore(server.url)):
            async with Sandbox() as sandbox:
                jobs = [await asyncio.to_thread(asyncio.run, job(sandbox, store)) for _ in range(20)]
                assert len(set(jobs)) == 1
                assert sandbox.mints == 1


async def test_client_of_another_loop_is_refused() -> None:
    """A client of the user's works on one loop: another one gets an error with the remedy."""
    from redis.asyncio import Redis  # noqa: PLC0415

    with redis_server() as server:
        client = Redis.from_url(server.url)
        store = RedisStore(client)
        assert await store.read(KEY) is None
        with pytest.raises(StoreRefusedError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, store.read(KEY))
        await client.aclose()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copies_of_memory_and_connections_are_refused(duplicate: Any) -> None:
    """A copy would be a second ledger, so it is refused with what to use instead; a file store may be copied."""
    for store, remedy in ((MemoryStore(), "file://"), (RedisStore("redis://localhost"), "the same URL")):
        with pytest.raises(StoreRefusedError, match=remedy):
            duplicate(store)
    assert duplicate(FileStore("/tmp/token.json"))  # noqa: S108 - not used


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_memory_is_not_shared_with_a_forked_process() -> None:
    """A forked process is told that memory is not shared."""
    store = MemoryStore()
    asyncio.run(store.write(KEY, DOCUMENT))
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            asyncio.run(store.read(KEY))
            os.write(write, b"read")
        except StoreRefusedError as error:
            os.write(write, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    answer = os.read(read, 1000).decode()
    os.close(read)
    os.close(write)

    assert "not shared between processes" in answer


async def test_file_store_works_without_what_windows_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store needs no flag and no function that Windows does not have."""
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "geteuid", "fchmod", "register_at_fork", "fork"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr("truecaller_vbc.stores.locks.fcntl", None)
    monkeypatch.setattr(file_store, "_IS_POSIX", False)
    store = FileStore(tmp_path / "token.json")
    async with store.lease(KEY, 5) as granted, store.lease(KEY, 5) as second:
        assert (granted, second) == (True, False)
        assert await store.write(KEY, DOCUMENT)
    assert await store.read(KEY) == DOCUMENT


async def test_ended_documents_are_forgotten(tmp_path: Path) -> None:
    """A write drops documents whose time stamps are more than two hours old."""
    store = FileStore(tmp_path / "token.json")
    await store.write("old", '{"revision": 1, "attempts": [{"at": 1000.0}]}')
    await store.write("new", DOCUMENT)

    assert await store.read("old") is None
    assert await store.read("new") == DOCUMENT


async def test_documents_outlive_a_wall_clock_that_is_set_forward(tmp_path: Path) -> None:
    """Accounts whose documents go on with the time from before the step do not drop each other's."""
    store = FileStore(tmp_path / "token.json")
    a_day_ago = time.time() - 86_400.0
    for key in ("one", "other"):
        document = json.dumps({"revision": 1, "written_at": a_day_ago, "attempts": [{"at": a_day_ago - 60.0}]})
        assert await store.write(key, document)

    assert await store.read("one") is not None


@pytest.mark.parametrize("umask", [0, 0o77])
async def test_every_new_directory_is_private(tmp_path: Path, umask: int) -> None:
    """Directories are made with 0700 at each level, whatever the umask."""
    before = os.umask(umask)
    try:
        await FileStore(tmp_path / "a" / "b" / "token.json").write(KEY, DOCUMENT)
    finally:
        os.umask(before)

    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o700, 0o700]


SECRET = "secret-document"


class _BuggyStore:
    async def read(self, key: str) -> NoReturn:
        raise AttributeError(SECRET)

    async def write(self, key: str, document: str) -> NoReturn:
        raise AttributeError(SECRET)

    @asynccontextmanager
    async def lease(self, key: str, seconds: float) -> Any:
        yield True


async def test_bug_in_a_store_is_logged_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    """A programming error of a store is logged once at ERROR, with its lines and without its text."""
    async with Sandbox() as sandbox:
        async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=_BuggyStore()) as vbc:
            await vbc.token()
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]

    assert sum("has a bug (AttributeError at " in error for error in errors) == 1
    assert "test_store_places" in errors[0]
    assert SECRET not in "".join(errors)
    assert any("not counted by others" in error for error in errors)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (("--maxmemory", "1kb", "--maxmemory-policy", "noeviction"), "evicts nothing"),
        (("--requirepass", "open-sesame"), "check user and password"),
    ],
)
async def test_redis_that_can_never_work_is_refused(options: tuple[str, ...], remedy: str) -> None:
    """A full server that evicts nothing, and a refused login, are errors with a remedy and no token request."""
    with redis_server(*options) as server:
        message, requests = await _refusal(server.url)

    assert remedy in message
    assert requests == 0


async def test_time_of_redis_comes_with_each_read() -> None:
    """The server's clock is told with the document, so that machines whose clocks differ share it."""
    with redis_server() as server:
        store = RedisStore(server.url)
        first = await store.now()
        await store.read(KEY)
        assert 0 <= await store.now() - first < 5
        await store.close()
