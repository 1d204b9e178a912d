"""Run every snippet of the README and the documentation as it stands."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from truecaller_vbc import CallRecord, TokenError, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox

from ..frameworks.asgi import call
from .snippets import run, run_cell, snippet, unused

LABEL = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
STORE_FOLDER = "/var/lib/app"

FIRST = snippet("README.md", "Install")
INDEX = snippet("docs/index.md", "truecaller_vbc")
ANNOUNCE = snippet("README.md", "Announce a call")
ANNOUNCE_WITH_LABEL = snippet("docs/api.md", "Announce one call")
CAMPAIGN = snippet("docs/api.md", "Announce a campaign")
ERRORS = snippet("docs/errors.md", "Errors: what to do")
POLICY = snippet("docs/policy.md", "Policy: the numbers")
POOL = snippet("docs/tokens.md", "Several tokens")
SHARED = snippet("docs/stores.md", "Stores: share the token between processes")
STORE = snippet("docs/stores.md", "Write your own store")
CHECK_STORE = snippet("docs/stores.md", "Check your store")
FASTAPI = snippet("docs/how-to/fastapi.md", "FastAPI")
PROBES = snippet("docs/observe.md", "Health probes")
LISTENER = snippet("docs/observe.md", "Events")
TELEMETRY = snippet("docs/observe.md", "OpenTelemetry")
FASTAPI_MODELS = snippet("docs/how-to/fastapi.md", "Models in handlers")
AIOHTTP_WEB = snippet("docs/how-to/aiohttp-web.md", "aiohttp.web")
CALL_LISTS = snippet("docs/how-to/call-lists-in-a-program.md", "Read call lists in your program")
CRON = snippet("docs/how-to/cron.md", "Cron jobs and scripts")
NOTEBOOK = snippet("docs/how-to/jupyter.md", "Jupyter notebooks")
NOTEBOOK_USE = snippet("docs/how-to/jupyter.md", "Use it")
NOTEBOOK_CLOSE = snippet("docs/how-to/jupyter.md", "Close it")
MANY_ACCOUNTS = snippet("docs/how-to/many-accounts.md", "Many accounts")
MIDDLEWARE = snippet("docs/how-to/own-client-session.md", "A `ClientSession` of your own")
OWN_HTTP = snippet("docs/how-to/own-client-session.md", "Pass it as `http=`")
VAULT = snippet("docs/how-to/credentials-from-a-vault.md", "Credentials from a vault")
README_FIXTURES = snippet("README.md", "Test your own program")
FIXTURES = snippet("docs/how-to/testing.md", "Test your own program")
OTHER_RULES = snippet("docs/how-to/testing.md", "Other rules")
ENVIRONMENT = snippet("docs/how-to/testing.md", "A program that reads the environment")


def _record(receiver: str) -> CallRecord:
    now = int(time.time() * 1000)
    return CallRecord(
        caller_number="+911234567890",
        receiver_number=receiver,
        starts_at=now,
        ends_at=now + 3_600_000,
        label_id=LABEL,
    )


def _in(folder: Path, code: str) -> str:
    """Let the store of a snippet lie in `folder`."""
    assert STORE_FOLDER in code
    return code.replace(STORE_FOLDER, str(folder / "store"))


def test_every_snippet_has_a_test() -> None:
    """A snippet without a test may be wrong."""
    from . import test_webhook_pages, test_workers  # noqa: F401, PLC0415 - they ask for the snippets of their pages

    assert set() == unused()


@pytest.mark.parametrize("code", [FIRST, INDEX], ids=["README", "index"])
async def test_first_snippet(code: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The snippet at the top of a page runs as it stands."""
    await asyncio.to_thread(run, code)

    out = capsys.readouterr().out
    expected = (
        r"<AccessToken [0-9a-f]{8} \d+:\d\d left>\n200 \[\{" if code is FIRST else rf"(.*\n)?{LABEL} Flower shop\n"
    )
    assert re.match(expected, out)
    assert 1 == sandbox.mints


@pytest.mark.parametrize("code", [ANNOUNCE, ANNOUNCE_WITH_LABEL], ids=["README", "api"])
async def test_announce(code: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A call is announced, and a receiver without the app does not end the program."""
    names = run(code)
    async with VBCSession.from_env() as vbc:
        label_id = await names["find_label"](vbc) if "find_label" in names else LABEL
        await names["announce"](vbc, label_id, "+911234567890", "+919876543210")
        await names["announce"](vbc, label_id, "+911234567890", "+919876500001")

    out = capsys.readouterr().out
    assert "success" in out
    assert "Not a Truecaller user" in out


async def test_campaign(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """All records of a campaign are sent, and each batch is waited for."""
    async with VBCSession.from_env() as vbc:
        await run(CAMPAIGN)["campaign"](vbc, [_record(f"+9198765{number:05}") for number in range(10, 520)])

    out = capsys.readouterr().out
    assert out.count("acknowledged") == 2
    assert out.count("<Status.SUCCESS: 'success'>: ") == 2


async def test_several_tokens(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Records that do not have to wait need one token."""
    await run(POOL)["push_fast"]([_record(f"+9198765{number:05}") for number in range(10, 520)])

    assert capsys.readouterr().out.count("acknowledged") == 2
    assert sandbox.mints == 1


async def test_errors(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """Each branch of the error page is reached by its error."""
    push = run(ERRORS)["push"]
    async with VBCSession.from_env(policy=TokenPolicy().scaled(1 / 1200)) as vbc:
        sandbox.fail_next("token", status=503)
        await push(vbc, _record("+919876543210"))
        await asyncio.sleep(0.01)
        await push(vbc, _record("+919876543210"))
        await push(vbc, _record("+919876500001"))
        sandbox.fail_next("calls", status=403)
        await push(vbc, _record("+919876543210"))

    lines = capsys.readouterr().out.splitlines()
    assert [
        lines[0].startswith("try again at 20"),
        "success" in lines[1],
        lines[2].startswith("the phone cannot show it: Not a Truecaller user"),
        lines[3].startswith("HTTP 403"),
    ] == [True] * 4


async def test_policy(sandbox: Sandbox) -> None:
    """A session with other numbers opens."""
    async with run(POLICY)["make_session"]() as vbc:
        await vbc.token()

    assert sandbox.mints == 1


async def test_shared_store_and_cron(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts with the same file store share one token."""
    await run(_in(tmp_path, SHARED))["show_token"]()
    for _ in range(2):
        await asyncio.to_thread(run, _in(tmp_path, CRON))

    assert capsys.readouterr().out.count("FlowerEra") == 2
    assert sandbox.mints == 1


@pytest.mark.slow
async def test_own_store(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The store of the documentation is short, passes the checks, and shares a token."""
    store = run(STORE)["SQLStore"]
    assert len([line for line in STORE.splitlines() if line]) < 40

    await run(CHECK_STORE, SQLStore=lambda _: store(str(tmp_path / "proof.db")))["check_my_store"]()
    assert "rules hold" in capsys.readouterr().out
    for _ in range(2):
        async with VBCSession.from_env(store=store(str(tmp_path / "tokens.db"))) as vbc:
            await vbc.token()
    assert sandbox.mints == 1


@pytest.mark.slow
async def test_fastapi(sandbox: Sandbox, tmp_path: Path) -> None:
    """The FastAPI application starts, answers, and shuts down."""
    app = run(_in(tmp_path, FASTAPI))["app"]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/labels", "headers": [], "query_string": b"", "app": app}
    async with app.router.lifespan_context(app):
        assert 1 == sandbox.mints
        await app(scope, receive, send)

    assert 200 == sent[0]["status"]
    assert "FlowerEra" == json.loads(b"".join(message.get("body", b"") for message in sent[1:]))[0]["name"]


async def test_fastapi_models(sandbox: Sandbox) -> None:
    """A handler takes a record and returns models."""
    app = run(FASTAPI_MODELS)["app"]
    async with VBCSession.from_env() as app.state.vbc:
        assert (200, "success") == await _status(app, "POST", "/announcements", _record("+919876543210").to_dict())
        assert (422, None) == await _status(app, "POST", "/announcements", {})
        assert (200, None) == await _status(app, "GET", "/token")


async def _status(app: Any, method: str, path: str, body: object = None) -> tuple[int, Any]:
    status, answer = await call(app, method, path, body)
    return status, answer.get("status")


async def test_probes(sandbox: Sandbox) -> None:
    """The readiness probe answers 200 before the first token and 503 while a failure forbids a mint, without a mint."""
    app = run(PROBES)["app"]
    async with VBCSession.from_env() as app.state.vbc:
        assert (200, "ok") == await call(app, "GET", "/livez")
        ready, status = await call(app, "GET", "/readyz")
        assert (200, "empty") == (ready, status["state"])
        sandbox.fail_next("token", status=401)
        with pytest.raises(TokenError):
            await app.state.vbc.token()
        assert 503 == (await call(app, "GET", "/readyz"))[0]
        assert 0 == sandbox.mints


async def test_listener(sandbox: Sandbox) -> None:
    """A listener gets the typed calls, and its subscription ends."""
    async with VBCSession.from_env() as vbc:
        await run(LISTENER)["slow_calls"](vbc)
        assert vbc.on_call is None


async def test_telemetry(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The OpenTelemetry snippet runs."""
    await run(TELEMETRY)["main"]()
    assert "FlowerEra" in capsys.readouterr().out


async def test_aiohttp_web(sandbox: Sandbox, tmp_path: Path) -> None:
    """The aiohttp.web application starts, answers, and shuts down."""
    app: web.Application = run(_in(tmp_path, AIOHTTP_WEB))["make_app"]()
    async with TestClient(TestServer(app)) as client:
        assert 1 == sandbox.mints
        async with client.get("/labels") as response:
            assert "FlowerEra" in [label["name"] for label in await response.json()]


def test_call_lists(tmp_path: Path) -> None:
    """Records are made of the rows that can be read, and the others say what to correct, in Python's words."""
    path = tmp_path / "crm.csv"
    path.write_text("Customer;Mobile\nAsha;98000 00019\nBela;98\n")
    records, problems = run(CALL_LISTS)["read_list"](path, LABEL)

    assert [record.receiver_number for record in records] == ["+919800000019"]
    assert problems == ["line 3: receiver_number: '98' is impossible as a number of IN, or of the country it names"]


async def test_notebook(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The cells of the notebook page run one after the other."""
    names: dict[str, Any] = {}
    await run_cell(NOTEBOOK.replace("/tmp/notebook", str(tmp_path / "store")), names)  # noqa: S108
    await run_cell(NOTEBOOK_USE, names)
    await run_cell(NOTEBOOK_CLOSE, names)

    assert f"{LABEL} Flower shop\n" in capsys.readouterr().out


async def test_own_session(sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A `ClientSession` of the user carries the token, as middleware and as `http=`."""
    await run(_in(tmp_path, MIDDLEWARE))["list_labels"]()
    await run(OWN_HTTP)["list_labels"]()

    assert "200\n2\n" == capsys.readouterr().out


async def test_many_accounts(sandbox: Sandbox, tmp_path: Path) -> None:
    """Jobs of an account use one session and one token, and an account without a key is an error."""
    mine = sandbox.credentials
    names = run(_in(tmp_path, MANY_ACCOUNTS).replace("store=", f"base_url={sandbox.base_url!r}, store="))
    names["KEYS"] = {mine.client_account_id: (mine.key_id, mine.api_key)}

    async def jobs() -> AsyncIterator[tuple[str, CallRecord]]:
        for receiver in ("+919812345670", "+919812345671"):
            yield mine.client_account_id, _record(receiver)
        yield "unknown", _record("+919812345672")

    with pytest.raises(TokenError, match="KeyError"):
        await names["main"](jobs())
    assert sandbox.mints == 1


async def test_vault(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A callable provides the credentials."""
    await run(VAULT)["show_status"]()

    out = capsys.readouterr().out
    assert out.startswith("minted token ")
    assert "TokenStatus(state='fresh'" in out


@pytest.mark.slow
def test_fixtures(pytester: pytest.Pytester) -> None:
    """The user's tests pass as they stand."""
    assert README_FIXTURES == FIXTURES
    pytester.makepyfile(test_fixtures=FIXTURES, test_rules=OTHER_RULES, test_environment=ENVIRONMENT)

    result = pytester.runpytest_subprocess("--asyncio-mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")

    result.assert_outcomes(passed=3)
