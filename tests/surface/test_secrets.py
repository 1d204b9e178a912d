"""Search reprs, log records, tracebacks with locals, and chains of errors for secrets."""

from __future__ import annotations

import asyncio
import logging
import secrets
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from truecaller_vbc import ConfigurationError, Credentials, TokenPolicy, VBCSession
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.token import document

HASTY = attrs.evolve(TokenPolicy(), mint_timeout=timedelta(seconds=0.2), rejection_grace=timedelta(0))


class Secrets:
    """Secrets to search for. Its own repr hides them, so that the frame of a test does not show them."""

    def __init__(self) -> None:
        self._values: list[str] = [f"api-key-{secrets.token_hex(16)}"]

    @property
    def api_key(self) -> str:
        return self._values[0]

    def add(self, token: str) -> None:
        self._values.append(str(token))

    def none_in(self, text: str) -> None:
        assert not any(value in text for value in self._values), "a secret was shown"


@pytest.fixture
def hidden() -> Secrets:
    return Secrets()


@pytest.fixture
async def sandbox(hidden: Secrets) -> AsyncIterator[Sandbox]:
    async with Sandbox(credentials=Credentials("account", "key", hidden.api_key)) as it:
        yield it


def _everything_about(error: BaseException) -> str:
    """Return the traceback with the locals of each frame, and the repr of each error in the chain."""
    lines = list(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    link: BaseException | None = error
    while link is not None:
        lines += [repr(link), str(link), repr(vars(link)), repr(link.args)]
        link = link.__cause__ or link.__context__
    return "".join(lines)


async def _fails(use: Callable[[], Awaitable[Any]]) -> str:
    try:
        response = await use()
    except Exception as error:
        return _everything_about(error)
    return repr(response)


TROUBLE: list[dict[str, Any]] = [
    {"status": 401},
    {"status": 429},
    {"status": 503, "headers": {"Retry-After": "1"}},
    {"status": 200, "body": "not a token"},
    {"drop": "before"},
    {"drop": "mid"},
    {"drop": "after"},
    {"delay": float("inf")},
    {"status": 307, "headers": {"Location": "http://127.0.0.1:9/"}},
]


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_failing_mint_shows_nothing(
    sandbox: Sandbox, hidden: Secrets, trouble: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A mint that fails shows no secret in its error or in the log."""
    caplog.set_level(logging.DEBUG)
    sandbox.fail_next("token", **trouble)
    async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=HASTY, on_event=print) as vbc:
        hidden.none_in(await _fails(vbc.token))
        hidden.none_in(await _fails(lambda: vbc.get("/x")))
        hidden.none_in(repr(vbc.status()))
    hidden.none_in(caplog.text)


async def test_failing_requests_show_nothing(
    sandbox: Sandbox, hidden: Secrets, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token is masked in errors of aiohttp, which carry the request's headers."""
    caplog.set_level(logging.DEBUG)
    async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=HASTY, on_event=print) as vbc:
        hidden.add((await vbc.token()).value)
        uses: list[Callable[[], Awaitable[Any]]] = [
            lambda: vbc.get("/nowhere", raise_for_status=True),
            lambda: vbc.get("//evil.example"),
            lambda: vbc.get("/x", headers=7),
            lambda: vbc.get("/x", nonsense=1),
            lambda: vbc.get("/x", timeout=aiohttp.ClientTimeout(total=1e-9)),
        ]
        for use in uses:
            hidden.none_in(await _fails(use))
        for drop in ("before", "mid", "after"):
            sandbox.fail_next("api", drop=drop, times=2)
            hidden.none_in(await _fails(lambda: vbc.post(f"/clients/{vbc.client_account_id}/echo", json={})))
        sandbox.revoke_all()
        sandbox.fail_next("token", status=503)
        hidden.none_in(await _fails(lambda: vbc.get(f"/clients/{vbc.client_account_id}/labels")))
    hidden.none_in(await _fails(vbc.token))
    hidden.none_in(caplog.text + capsys.readouterr().out)


async def test_reprs_show_nothing(sandbox: Sandbox, hidden: Secrets, tmp_path: Path) -> None:
    """The repr of each object that holds a secret hides it."""
    store = f"file://{tmp_path}/token.json"
    events: list[object] = []
    async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=store, on_event=events.append) as vbc:
        token = await vbc.token()
        hidden.add(token.value)
        holder = vbc._holder
        state, now = holder.state, holder.now()
        things = [
            *(sandbox, sandbox.credentials, token, vbc, vbc.status(), vbc.ledger(), events, store, holder),
            *(state.current, state._keys, state.times, state.ledger, attrs.asdict(token)),
            *(
                document.load(document.dump(holder._minter._exchange.to_document(now, 0.0))),
                {"api_key": sandbox.credentials.api_key},
            ),
        ]
        for thing in things:
            hidden.none_in(repr(thing))


def test_bad_settings_show_nothing(hidden: Secrets) -> None:
    """Errors about invalid settings show no secret, not even in the locals of frames."""
    for use in (
        lambda: Credentials("", "key", hidden.api_key),
        lambda: Credentials("account", "key", hidden.api_key + " "),
        lambda: Credentials(hidden.api_key + "/", "key", hidden.api_key),
        lambda: Credentials("account", hidden.api_key + " ", "key"),
        lambda: VBCSession(Credentials("account", "key", hidden.api_key), base_url="nonsense"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            use()
        hidden.none_in(_everything_about(caught.value))


@pytest.mark.parametrize("mixed_up", ["CLIENT_ACCOUNT_ID", "KEY_ID", "API_KEY"])
def test_bad_environment_shows_nothing(hidden: Secrets, monkeypatch: pytest.MonkeyPatch, mixed_up: str) -> None:
    """Errors about invalid environment variables do not show their values."""
    for name in ("CLIENT_ACCOUNT_ID", "KEY_ID", "API_KEY"):
        monkeypatch.setenv(f"X_{name}", "two words")
    monkeypatch.setenv(f"X_{mixed_up}", f"{hidden.api_key} and more")
    with pytest.raises(ConfigurationError) as caught:
        Credentials.from_env("X_")
    hidden.none_in(_everything_about(caught.value))


async def test_failing_vault_shows_nothing(sandbox: Sandbox, hidden: Secrets) -> None:
    """An error of a credentials callable does not show the locals of that callable."""

    async def vault() -> Credentials:
        await asyncio.sleep(0)
        raise OSError("sealed")

    async with VBCSession(vault, base_url=sandbox.base_url) as vbc:
        text = await _fails(vbc.token)
        hidden.none_in(text)
        assert "sealed" in text
