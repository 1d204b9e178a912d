"""Run the worker recipes against bad receivers, lost connections and a server that goes down."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from truecaller_vbc import (
    APIPolicy,
    CallRecord,
    InvalidRecordError,
    NotDeliveredError,
    ServerError,
    SessionClosedError,
    TokenEndpointError,
    TokenPolicy,
    VBCSession,
)
from truecaller_vbc.sandbox import Sandbox

from .snippets import run, snippet

PAGE = "docs/how-to/workers.md"
ASYNCIO = snippet(PAGE, "asyncio")
CELERY = snippet(PAGE, "Celery")
RQ = snippet(PAGE, "RQ")
ARQ = snippet(PAGE, "arq")

GOOD = [f"+9198765432{number:02}" for number in range(30)]
UNREACHABLE = [f"+919876500{number:03}" for number in (1, 2, 3, 4)]
LATE = "+919876543299"


def _fields(receiver: str, *, minutes: int = 60) -> dict[str, Any]:
    now = int(time.time() * 1000)
    return {
        "caller_number": "+911234567890",
        "receiver_number": receiver,
        "starts_at": now - 3_600_000,
        "ends_at": now + minutes * 60_000,
        "label_id": "c6d86658-008d-4c08-98fb-2bf2649d59a5",
    }


class _Crew:
    """Four workers of the recipe and their queue."""

    def __init__(self, vbc: VBCSession) -> None:
        self.work = run(ASYNCIO)
        self.work["PAUSE"] = 0.01
        self.jobs: asyncio.Queue[CallRecord] = asyncio.Queue()
        self.failed: list[tuple[CallRecord, Exception]] = []
        self.workers = [asyncio.create_task(self.work["work"](vbc, self.jobs, self.failed)) for _ in range(4)]

    def put(self, *receivers: str, minutes: int = 60) -> None:
        for receiver in receivers:
            self.jobs.put_nowait(CallRecord(**_fields(receiver, minutes=minutes)))

    async def stop(self) -> None:
        for worker in self.workers:
            worker.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)


@asynccontextmanager
async def _crew() -> AsyncIterator[_Crew]:
    # One attempt for each call: the library's own retries would hide the recipe's.
    policies: dict[str, Any] = {"policy": TokenPolicy().scaled(1 / 1200), "api_policy": APIPolicy(attempts=1)}
    async with VBCSession.from_env(**policies) as vbc:
        crew = _Crew(vbc)
        try:
            yield crew
        finally:
            await crew.stop()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def _receivers(sandbox: Sandbox) -> set[str]:
    return {f"+{digits}" for digits in sandbox.accepted}


@pytest.mark.slow
async def test_worker_loses_no_job(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Each job is taken by the API or put aside with its reason, whatever fails on the way; no worker ends."""
    sandbox.fail_next("token", status=503)
    for fault in ({"drop": "before"}, {"drop": "mid"}, {"drop": "after"}, {"status": 500}, {"status": 503}):
        sandbox.fail_next("calls", times=3, **fault)
    sandbox.fail_next("calls", status=502, body="<html>Bad gateway</html>")
    sandbox.fail_next("calls", status=429)
    async with _crew() as crew:
        crew.put(*GOOD[:10], *UNREACHABLE, *GOOD[10:20])
        crew.put(LATE, minutes=-1)
        await _until(lambda: len(sandbox.accepted) > 3)
        await sandbox.pause_listening()
        crew.put(*GOOD[20:])
        await asyncio.sleep(0.1)
        await sandbox.resume_listening()
        async with asyncio.timeout(10):
            await crew.jobs.join()
        assert not any(worker.done() for worker in crew.workers)

        assert set(GOOD) <= _receivers(sandbox)
        assert len(GOOD) == capsys.readouterr().out.count("<Status.SUCCESS: 'success'>")
        failed = {record.receiver_number: type(error) for record, error in crew.failed}
        assert {**dict.fromkeys(UNREACHABLE, NotDeliveredError), LATE: InvalidRecordError} == failed
        assert len(failed) == len(crew.failed)


async def test_worker_that_is_cancelled_gives_its_job_back(sandbox: Sandbox) -> None:
    """The jobs of cancelled workers are in the queue again."""
    sandbox.set_outage("calls", delay=float("inf"))
    async with _crew() as crew:
        crew.put(*GOOD[:4])
        await _until(crew.jobs.empty)
        await asyncio.sleep(0.05)
        await crew.stop()

        assert 4 == crew.jobs.qsize()
        assert [] == crew.failed


async def test_worker_of_a_closed_session_gives_its_job_back(sandbox: Sandbox) -> None:
    """A worker whose session is closed ends with `SessionClosedError` and keeps its job."""
    vbc = VBCSession.from_env()
    async with vbc:
        crew = _Crew(vbc)
        await vbc.warm_up()
    crew.put(GOOD[0])
    with pytest.raises(SessionClosedError):
        await crew.workers[0]
    await crew.stop()

    assert 1 == crew.jobs.qsize()


class _Retry(Exception):  # noqa: N818 - celery and arq call theirs so
    def __init__(self, **options: Any) -> None:
        super().__init__(options)
        self.options = options


class _Task:
    """Stands in for a bound Celery task."""

    def retry(self, **options: Any) -> _Retry:
        return _Retry(**options)


class _Celery:
    """Stands in for a Celery application: a task stays the function that it is."""

    def __init__(self, name: str, broker: str) -> None:
        pass

    def task(self, **options: Any) -> Callable[[Any], Any]:
        assert options["acks_late"]
        return lambda function: function


def _module(name: str, **names: object) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(names)
    return module


@pytest.fixture
def queues(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Stand-ins for the task queues, and the URL of a store that their jobs share."""
    monkeypatch.setitem(sys.modules, "celery", _module("celery", Celery=_Celery, Task=_Task))
    monkeypatch.setitem(sys.modules, "arq", _module("arq", Retry=_Retry))
    store = f"file://{tmp_path}/store/token.json"
    monkeypatch.setenv("TRUECALLER_VBC_STORE", store)
    return store


@pytest.mark.slow
async def test_celery(sandbox: Sandbox, queues: str) -> None:
    """A task is done, or asks Celery for another try; all tasks share one token."""
    names = run(CELERY)
    names["STORE"] = queues

    async def announce(receiver: str) -> Any:
        return await asyncio.to_thread(names["announce"], _Task(), _fields(receiver))

    assert "Record processed successfully" == await announce(GOOD[0])
    assert "not delivered: Not a Truecaller user" == await announce(UNREACHABLE[0])
    sandbox.fail_next("calls", status=500)
    with pytest.raises(_Retry) as again:
        await announce(GOOD[1])
    assert 30 == again.value.options["countdown"]
    assert isinstance(again.value.options["exc"], ServerError)
    assert 1 == sandbox.mints


async def test_celery_without_a_token(sandbox: Sandbox, queues: str) -> None:
    """A task that finds no token is tried again when one may be had."""
    names = run(CELERY)
    names["STORE"] = queues
    sandbox.fail_next("token", status=503)
    with pytest.raises(_Retry) as again:
        await asyncio.to_thread(names["announce"], _Task(), _fields(GOOD[0]))

    error = again.value.options["exc"]
    assert isinstance(error, TokenEndpointError)
    assert error.retry_at == again.value.options["eta"]


async def test_rq(sandbox: Sandbox, queues: str) -> None:
    """A job returns what another try cannot change, and raises what it may."""
    names = run(RQ)
    names["STORE"] = queues

    async def announce(receiver: str, *, minutes: int = 60) -> Any:
        return await asyncio.to_thread(names["announce"], _fields(receiver, minutes=minutes))

    assert "Record processed successfully" == await announce(GOOD[0])
    assert str(await announce(UNREACHABLE[0])).startswith("not delivered: ")
    assert str(await announce(GOOD[2], minutes=-1)).startswith("not delivered: ")
    sandbox.fail_next("calls", status=500)
    with pytest.raises(ServerError):
        await announce(GOOD[1])
    assert 1 == sandbox.mints


async def test_arq(sandbox: Sandbox, queues: str) -> None:
    """A worker keeps one session, and asks arq for another try."""
    names = run(ARQ)
    settings, ctx = names["WorkerSettings"], dict[str, Any]()
    await settings.on_startup(ctx)
    (announce,) = settings.functions
    assert "Record processed successfully" == await announce(ctx, _fields(GOOD[0]))
    assert "not delivered: Not a Truecaller user" == await announce(ctx, _fields(UNREACHABLE[0]))
    sandbox.fail_next("calls", status=500)
    with pytest.raises(_Retry):
        await announce(ctx, _fields(GOOD[1]))
    await settings.on_shutdown(ctx)

    assert 1 == sandbox.mints
