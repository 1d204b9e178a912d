"""Run the recipes for webhooks with the real frameworks and servers."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from truecaller_vbc.sandbox import send_webhooks, webhook_event, webhook_variants
from truecaller_vbc.webhooks import Event, Receiver

from ..webhooks.servers import post, served, until
from .snippets import run, snippet

PAGE = "docs/webhooks.md"
FIRST = snippet(PAGE, "Webhooks")
COMMIT = snippet(PAGE, "What is guaranteed")
SLOW = snippet(PAGE, "Slow handlers")
AIOHTTP = snippet(PAGE, "aiohttp.web")
FASTAPI = snippet(PAGE, "FastAPI and Starlette")
LITESTAR = snippet(PAGE, "Litestar")
QUART = snippet(PAGE, "Quart")
DJANGO = snippet(PAGE, "Django")
LAMBDA = snippet(PAGE, "AWS Lambda")
UVICORN_LOG = snippet(PAGE, "Keep the key out of access logs")
FIXTURE = snippet(PAGE, "Try it, and test it")
KEY = "key-of-the-url-1"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_KEY", KEY)
    monkeypatch.setenv("WEBHOOK_KEYS", f"another-key,{KEY}")


def _in(directory: Path, code: str) -> str:
    return code.replace("/var/lib/app", str(directory))


@asynccontextmanager
async def _uvicorn(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application by uvicorn, and give its address."""
    uvicorn = pytest.importorskip("uvicorn")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started or serving.done())
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


async def _check(address: str, out: Callable[[], str]) -> None:
    """Check that an application handles an event once, and refuses a wrong key and a large body."""
    url, event = f"{address}/truecaller?key={KEY}", webhook_event()
    assert (await post(url, event))[:2] == (200, {"status": "done"})
    assert (await post(url, event))[:2] == (200, {"status": "duplicate"})
    assert (await post(f"{address}/truecaller?key=x", event))[0] == 403
    assert (await post(url, b"x" * 100_000))[0] == 413
    assert (await post(url, b"{"))[0] == 400
    deliveries = await send_webhooks(url, webhook_variants().values())
    assert {delivery.state for delivery in deliveries} == {"delivered"}
    assert out().count(event["event_id"]) == 1


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().out


async def test_first_program(tmp_path: Path, out: Callable[[], str]) -> None:
    """Each type goes to its handler, and either key is valid."""
    async with served(run(_in(tmp_path, FIRST))["hooks"]) as url:
        await post(url)
        await post(url, webhook_event("user_feedback"))
        await post(url.replace(KEY, "another-key"), {"event_id": "x", "event_type": "new"})

    lines = out().splitlines()
    assert [line.split()[0] for line in lines] == ["call", "feedback", "new"]


async def test_commit(tmp_path: Path) -> None:
    """The effect and the claim are in one file."""
    hooks: Receiver = run(_in(tmp_path, COMMIT).replace("a key", KEY))["hooks"]
    event = webhook_event()
    async with served(hooks) as url:
        assert (await post(url, event))[1] == {"status": "done"}
        assert (await post(url, event))[1] == {"status": "duplicate"}
        rows = await hooks._claims._transact(lambda db: db.execute("SELECT * FROM callbacks").fetchall())

    assert rows == [("+911234567890",)]


async def test_store_then_run(tmp_path: Path, out: Callable[[], str]) -> None:
    """The receiver opens and closes."""
    await run(_in(tmp_path, SLOW))["main"]()

    assert "Receiver object" in out()


async def test_aiohttp(out: Callable[[], str]) -> None:
    """The aiohttp.web application."""
    async with TestServer(run(AIOHTTP)["make_app"]()) as server:
        await _check(str(server.make_url("")).rstrip("/"), out)


@pytest.mark.slow
async def test_fastapi(out: Callable[[], str]) -> None:
    """The FastAPI application, by uvicorn."""
    async with _uvicorn(run(FASTAPI)["app"]) as address:
        await _check(address, out)


@pytest.mark.slow
async def test_starlette(out: Callable[[], str]) -> None:
    """The line for Starlette, by uvicorn."""
    routing = pytest.importorskip("starlette.routing")
    applications = pytest.importorskip("starlette.applications")
    hooks = run(FASTAPI)["hooks"]
    line = "routing.Route" + snippet_text().partition("In Starlette: `Route")[2].partition("`")[0]
    route = eval(line, {"routing": routing, "hooks": hooks})  # noqa: S307
    async with _uvicorn(applications.Starlette(routes=[route])) as address:
        await _check(address, out)


@pytest.mark.slow
async def test_receiver_as_the_whole_application(tmp_path: Path) -> None:
    """A receiver that uvicorn runs alone opens and closes with the server, and refuses a web socket."""
    seen: list[str] = []

    async def handle(event: Event) -> None:
        seen.append(event.event_id)

    def stored() -> Receiver:
        return Receiver(handle, key=KEY, seen=f"file://{tmp_path}/claims.db", mode="store_then_run")

    before = stored()
    await before._claims.claim("left over", "owner", 60.0, b'{"event_id": "left over"}')
    await before.close()
    hooks = stored()
    async with _uvicorn(hooks.asgi) as address:
        await until(lambda: seen == ["left over"])
        assert (await post(f"{address}/?key={KEY}", {"event_id": "a"}))[1] == {"status": "stored"}
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await http.ws_connect(address)
        await until(lambda: seen == ["left over", "a"])
    assert not hooks._tasks


def snippet_text() -> str:
    """Return the page."""
    return (Path(__file__).parents[2] / PAGE).read_text()


@pytest.mark.slow
async def test_litestar(out: Callable[[], str]) -> None:
    """The Litestar application, by uvicorn."""
    pytest.importorskip("litestar")
    quiet = LITESTAR.replace("lifespan=", "logging_config=None, lifespan=")  # it would change the root logger
    async with _uvicorn(run(quiet, __name__=__name__)["app"]) as address:
        await _check(address, out)


@pytest.mark.slow
async def test_quart(out: Callable[[], str]) -> None:
    """The Quart application, by uvicorn; its own pages stay."""
    pytest.importorskip("quart")
    async with _uvicorn(run(QUART)["app"]) as address:
        await _check(address, out)
        async with aiohttp.ClientSession() as http, http.get(f"{address}/other") as answer:
            assert answer.status == 404


@pytest.mark.slow
async def test_django(out: Callable[[], str]) -> None:
    """The Django application, by uvicorn; its own pages stay."""
    conf = pytest.importorskip("django.conf")
    if not conf.settings.configured:
        conf.settings.configure(ROOT_URLCONF="", SECRET_KEY="not secret", ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None)
    async with _uvicorn(run(DJANGO)["application"]) as address:
        await _check(address, out)


def test_lambda(out: Callable[[], str]) -> None:
    """The function of AWS Lambda."""
    handler = run(LAMBDA)["handler"]
    good = {"queryStringParameters": {"key": KEY}, "body": json.dumps(webhook_event())}

    assert handler(good, None)["statusCode"] == 200
    assert handler(good | {"body": "{"}, None)["statusCode"] == 400
    assert handler(good | {"queryStringParameters": None}, None)["statusCode"] == 403
    assert "'+********7890'" in out()


@pytest.mark.slow
async def test_access_log_of_uvicorn(caplog: pytest.LogCaptureFixture) -> None:
    """With the filter, uvicorn's access log has no key."""
    caplog.set_level(logging.INFO)
    log = logging.getLogger("uvicorn.access")
    async with _uvicorn(run(FASTAPI)["app"]) as address:
        await post(f"{address}/truecaller?key={KEY}")
        assert KEY in caplog.text
        caplog.clear()
        filters = log.filters[:]
        try:
            run(UVICORN_LOG)
            await post(f"{address}/truecaller?key={KEY}")
        finally:
            log.filters[:] = filters

    assert "/truecaller" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.slow
def test_fixture(pytester: pytest.Pytester) -> None:
    """The user's test passes as it stands."""
    pytester.makepyfile(test_webhooks=FIXTURE)

    result = pytester.runpytest_subprocess("--asyncio-mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")

    result.assert_outcomes(passed=1)
