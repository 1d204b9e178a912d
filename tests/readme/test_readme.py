"""The README is true: its snippets run, its tables are those of the code."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

import truecaller_vbc
import truecaller_vbc.sandbox
import truecaller_vbc.stores
from truecaller_vbc import APIPolicy, CallRecord, TokenPolicy, VBCError, VBCSession
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.stores.conformance import check_store

README = (Path(__file__).parents[2] / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FIRST, STORE, TYPED, FASTAPI, WORKER, MIDDLEWARE, VAULT, FIXTURES = SNIPPETS


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """A sandbox that the environment, and the default base URL, lead to."""
    async with Sandbox() as sandbox:
        monkeypatch.setenv("TRUECALLER_VBC_CLIENT_ACCOUNT_ID", sandbox.credentials.client_account_id)
        monkeypatch.setenv("TRUECALLER_VBC_KEY_ID", sandbox.credentials.key_id)
        monkeypatch.setenv("TRUECALLER_VBC_API_KEY", str(sandbox.credentials.api_key))
        defaults = VBCSession.__init__.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "base_url", sandbox.base_url)
        yield sandbox


def _record(receiver: str) -> CallRecord:
    now = int(time.time() * 1000)
    return CallRecord(
        caller_number="+911234567890",
        receiver_number=receiver,
        starts_at=now,
        ends_at=now + 3_600_000,
        label_id="c6d86658-008d-4c08-98fb-2bf2649d59a5",
    )


def _run(snippet: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippet, "README.md", "exec"), names)  # noqa: S102
    return names


async def test_first_snippet(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The snippet at the top runs as it stands."""
    await asyncio.to_thread(_run, FIRST)

    out = capsys.readouterr().out
    assert re.search(r"<AccessToken [0-9a-f]{8} \d+:\d\d left>\n200 \[\{", out)
    assert 1 == sandbox.mints


async def test_fastapi(sandbox: Sandbox) -> None:
    """The web backend boots, answers, and shuts down."""
    app = _run(FASTAPI)["app"]
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


async def test_worker(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The worker loses no job to an outage of the token endpoint."""
    sandbox.fail_next("token", status=503)
    policy = TokenPolicy().scaled(1 / 1200)
    jobs: asyncio.Queue[CallRecord] = asyncio.Queue()
    for number in range(20):
        jobs.put_nowait(_record(f"+9198765432{number:02}"))
    async with VBCSession.from_env(policy=policy) as vbc:
        workers = [asyncio.create_task(_run(WORKER)["work"](vbc, jobs)) for _ in range(4)]
        await jobs.join()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    assert 20 == capsys.readouterr().out.count("<Status.SUCCESS: 'success'>")


async def test_typed_calls(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """A call is announced, and so is a campaign; a receiver without the app is no error of the program."""
    typed = _run(TYPED)
    async with VBCSession.from_env() as vbc:
        await typed["announce"](vbc, "+911234567890", "+919876543210")
        await typed["announce"](vbc, "+911234567890", "+919876500001")
        await typed["campaign"](vbc, [_record(f"+9198765{number:05}") for number in range(10, 520)])

    out = capsys.readouterr().out
    assert "success" in out
    assert "Not a Truecaller user" in out
    assert out.count("acknowledged") == 2
    assert out.count("<Status.SUCCESS: 'success'>: ") == 2


async def test_middleware_and_vault(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """The other ways in run, too."""
    await _run(MIDDLEWARE)["list_labels"]()
    await _run(VAULT)["show_status"]()

    out = capsys.readouterr().out
    assert out.startswith("200\nTokenMinted(")
    assert "TokenStatus(state='fresh'" in out


async def test_custom_store(sandbox: Sandbox, tmp_path: Path) -> None:
    """The store of the README is short, passes the suite, and works."""
    store = _run(STORE)["SQLStore"]
    assert len([line for line in STORE.splitlines() if line]) < 40

    await check_store(lambda: store(str(tmp_path / "proof.db")))
    for _ in range(2):
        async with VBCSession.from_env(store=store(str(tmp_path / "tokens.db"))) as vbc:
            await vbc.token()
    assert sandbox.mints == 1


def test_fixtures(pytester: pytest.Pytester) -> None:
    """The user's test passes as it stands."""
    pytester.makepyfile(FIXTURES)

    result = pytester.runpytest_subprocess("--asyncio-mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("module", [truecaller_vbc, truecaller_vbc.sandbox, truecaller_vbc.stores])
def test_every_public_name_is_there(module: ModuleType) -> None:
    """So that a reader finds it, and its place."""
    named = set(re.findall(r"\w+", README))
    assert {name for name in module.__all__ if not name.startswith("__")} <= named


def test_policy_table() -> None:
    """Every number of the policy is in the table, with its default."""
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", README, re.MULTILINE))
    units = {"min": "minutes", "s": "seconds"}
    defaults = {}
    for field in attrs.fields(TokenPolicy):
        number, _, unit = rows[field.name].partition(" ")
        defaults[field.name] = timedelta(**{units[unit]: int(number)}) if unit else int(number)

    assert attrs.asdict(TokenPolicy()) == defaults


def test_api_policy_table() -> None:
    """Every number of the typed calls is in its table, with its default."""
    table = README.partition("| number of `APIPolicy` |")[2].partition("The deprecated")[0]
    shown: dict[str, str] = {}
    for names, values in re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", table, re.MULTILINE):
        shown |= zip(re.findall(r"\w+", names), values.split(", "), strict=True)

    assert shown == {name: _shown(value) for name, value in attrs.asdict(APIPolicy()).items()}


def _shown(value: object) -> str:
    if not isinstance(value, timedelta):
        return str(value)
    seconds = value.total_seconds()
    return "1 min" if seconds == 60 else f"{seconds:g} s"


def test_error_table() -> None:
    """Every error has its line."""
    table = README.partition("## When something fails")[2].partition("## Recipes")[0]
    errors = {
        name
        for name in truecaller_vbc.__all__
        if isinstance(kind := getattr(truecaller_vbc, name), type) and issubclass(kind, VBCError)
    }

    assert errors == set(re.findall(r"`(\w+Error)`", table)) - {"ValueError", "RuntimeError", "TimeoutError"}


def test_set_up_commands_name_what_there_is() -> None:
    """The extras and the script of the two commands exist."""
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    for extra in re.findall(r"-e '\.\[(\w+)\]'", README):
        assert f"\n{extra} = [" in project
    assert "truecaller-vbc = " in project
