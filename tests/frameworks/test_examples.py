"""Start each program of docs/examples for real, against the sandbox. What is not installed is skipped."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from truecaller_vbc.sandbox import Sandbox

from ..api.sandbox_session import record
from ..readme.snippets import run_cell
from ..redis_server import redis_server

pytestmark = [pytest.mark.slow, pytest.mark.examples]

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
PYTHON: Final = (sys.executable, "-m")
WSGI: Final = (
    "from wsgiref.simple_server import make_server; import django_app, sys;"
    "make_server('127.0.0.1', int(sys.argv[1]), django_app.wsgi).serve_forever()"
)
# Package that it needs, command with {port}, path.
WEB: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "fastapi": ("uvicorn", (*PYTHON, "uvicorn", "fastapi_app:app", "--port={port}"), "/labels"),
    "litestar": ("litestar", (*PYTHON, "uvicorn", "litestar_app:app", "--port={port}"), "/labels"),
    "quart": ("hypercorn", (*PYTHON, "hypercorn", "quart_app:app", "--bind=127.0.0.1:{port}"), "/labels"),
    "aiohttp": ("aiohttp", (sys.executable, "aiohttp_app.py", "{port}"), "/labels"),
    "django": ("django", (*PYTHON, "uvicorn", "--lifespan=on", "django_app:asgi", "--port={port}"), "/labels"),
    "django under WSGI": ("django", (sys.executable, "-c", WSGI, "{port}"), "/wsgi/labels"),
}
ENQUEUE: Final = {
    "arq": """
import arq, arq_worker, asyncio, json, sys
async def main():
    pool = await arq.create_pool(arq_worker.WorkerSettings.redis_settings)
    job = await pool.enqueue_job("announce", json.loads(sys.argv[1]))
    print(await job.result(timeout=30))
    await pool.aclose()
asyncio.run(main())
""",
    "taskiq": """
import asyncio, json, sys, taskiq_worker
async def main():
    await taskiq_worker.broker.startup()
    task = await taskiq_worker.announce.kiq(json.loads(sys.argv[1]))
    print((await task.wait_result(timeout=30)).return_value)
    await taskiq_worker.broker.shutdown()
taskiq_worker.broker.event_handlers.clear()
asyncio.run(main())
""",
    "celery": """
import celery_worker, json, sys
print(celery_worker.announce.delay(json.loads(sys.argv[1])).get(timeout=30))
""",
}
WORKERS: Final = {
    "arq": (sys.executable, "-c", "from arq.cli import cli; cli()", "arq_worker.WorkerSettings"),
    "taskiq": (*PYTHON, "taskiq", "worker", "--workers=1", "taskiq_worker:broker"),
    "celery": (*PYTHON, "celery", "-A", "celery_worker", "worker", "--concurrency=1"),
}


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A sandbox and a store that the environment names."""
    async with Sandbox() as sandbox:
        credentials = sandbox.credentials
        monkeypatch.setenv("TRUECALLER_VBC_CLIENT_ACCOUNT_ID", credentials.client_account_id)
        monkeypatch.setenv("TRUECALLER_VBC_KEY_ID", credentials.key_id)
        monkeypatch.setenv("TRUECALLER_VBC_API_KEY", str(credentials.api_key))
        monkeypatch.setenv("TRUECALLER_VBC_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("TRUECALLER_VBC_STORE", f"file://{tmp_path}/store/token.json")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parents[1])]))
        yield sandbox


@asynccontextmanager
async def _running(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=2, cwd=EXAMPLES)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.communicate(), 30)


async def _output(*command: str) -> str:
    async with _running(*command) as process, asyncio.timeout(60):
        out, _ = await process.communicate()
        return out.decode().strip()


async def _get(url: str) -> object:
    async with asyncio.timeout(30), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(url) as response:
                    return await response.json()
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", WEB)
async def test_web_application(sandbox: Sandbox, name: str) -> None:
    """The application starts under its server, serves the labels twice with one mint, and stops."""
    package, command, path = WEB[name]
    pytest.importorskip(package)
    pytest.importorskip("uvicorn" if "uvicorn" in command else package)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with _running(*(part.format(port=port) for part in command)):
        answers = [await _get(f"http://127.0.0.1:{port}{path}") for _ in range(2)]

    assert "FlowerEra" in json.dumps(answers[1])
    assert sandbox.mints == 1


@pytest.mark.parametrize("name", WORKERS)
async def test_worker(sandbox: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker takes two announcements from the queue with one mint."""
    pytest.importorskip(name)
    pytest.importorskip({"taskiq": "taskiq_redis"}.get(name, name))
    with redis_server() as redis:
        monkeypatch.setenv("REDIS_URL", redis.url)
        async with _running(*WORKERS[name]):
            for number in range(2):
                job = json.dumps(record(number).to_dict())
                assert await _output(sys.executable, "-c", ENQUEUE[name], job) == "success"
    assert sandbox.mints == 1


async def test_cron(sandbox: Sandbox) -> None:
    """Two runs of the cron job need one mint."""
    for _ in range(2):
        assert "FlowerEra" in await _output(sys.executable, "cron.py")
    assert sandbox.mints == 1


async def test_serverless(sandbox: Sandbox) -> None:
    """Two invocations need one mint, and a wrong event is answered with its problems."""
    code = "import serverless, json, sys; print(json.dumps(serverless.handler(json.loads(sys.argv[1]), None)))"
    for event, status in (({}, 422), (record(0).to_dict(), 200), (record(1).to_dict(), 200)):
        answer = json.loads(await _output(sys.executable, "-c", code, json.dumps(event)))
        assert answer["statusCode"] == status
    assert sandbox.mints == 1


async def test_notebook(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The cells of the notebook run one after another."""
    names: dict[str, object] = {}
    for cell in (EXAMPLES / "notebook.py").read_text().split("# %%"):
        await run_cell(cell, names)
    assert "FlowerEra" in capsys.readouterr().out


def test_examples_are_short_and_listed() -> None:
    """Each example is shorter than 40 lines, has a docstring, and is in the list."""
    files = sorted(EXAMPLES.glob("*.py"))
    assert len(files) == 11
    for path in files:
        text = path.read_text()
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
        tree = compile(text, path.name, "exec", flags=flags)
        assert text.count("\n") < 40
        assert ast.get_docstring(tree)
        assert f"({path.name})" in (EXAMPLES / "README.md").read_text()
