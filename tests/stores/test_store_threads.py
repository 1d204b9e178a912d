"""The threads in which the file store works: how many calls they take, and what a cancelled one leaves."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from truecaller_vbc import FileStore
from truecaller_vbc.stores.threads import run_in_thread

DOCUMENT = '{"revision": 1}'


async def test_many_accounts_at_once(tmp_path: Path) -> None:
    """More calls than there are threads wait for their turn, and do not take the store for broken."""
    store = FileStore(tmp_path / "token.json")
    keys = [f"{number:032}" for number in range(60)]
    kept = await asyncio.gather(*(store.write(key, DOCUMENT) for key in keys))

    assert all(kept)
    assert set(json.loads((tmp_path / "token.json").read_text())["documents"]) == set(keys)


async def test_cancelled_call_is_never_begun() -> None:
    """A call that was cancelled while all threads were busy is not made later."""
    begun: list[int] = []
    go_on = threading.Event()
    busy = [asyncio.create_task(run_in_thread(go_on.wait)) for _ in range(16)]
    late = asyncio.create_task(run_in_thread(lambda: begun.append(1), begun.append))
    await asyncio.sleep(0.05)
    late.cancel()
    await asyncio.wait([late])
    go_on.set()

    assert await asyncio.gather(*busy) == [True] * 16
    assert await run_in_thread(lambda: len(begun)) == 0
    assert late.cancelled()


async def test_threads_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without free threads fails each call, and the calls after it find as many threads as before."""

    def refuse(_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(20):
            with pytest.raises(RuntimeError):
                await run_in_thread(os.getpid)

    assert await run_in_thread(os.getpid) == os.getpid()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
async def test_forked_process_has_threads_of_its_own() -> None:
    """Threads that were busy at a fork do not exist in the child, which starts its own."""
    go_on = threading.Event()
    busy = [asyncio.create_task(run_in_thread(go_on.wait)) for _ in range(16)]
    await asyncio.sleep(0.05)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.events._set_running_loop(None)
            runner = asyncio.Runner()
            code = 0 if runner.run(asyncio.wait_for(run_in_thread(os.getpid), 2)) == os.getpid() else 2
        finally:
            os._exit(code)
    go_on.set()
    await asyncio.gather(*busy)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0  # noqa: ASYNC222 - it has ended, or ends soon
