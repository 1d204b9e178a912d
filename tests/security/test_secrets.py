"""Search reprs, log records, tracebacks with locals, and chains of errors for secrets."""

from __future__ import annotations

import asyncio
import logging
import secrets
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

from .hidden import Hidden, everything_about

SHORT_TIMEOUTS = attrs.evolve(TokenPolicy(), mint_timeout=timedelta(seconds=0.2), rejection_grace=timedelta(0))


@pytest.fixture
def hidden() -> Hidden:
    return Hidden(f"api-key-{secrets.token_hex(16)}")


@pytest.fixture
async def sandbox(hidden: Hidden) -> AsyncIterator[Sandbox]:
    async with Sandbox(credentials=Credentials("account", "key", hidden.api_key)) as it:
        yield it


async def _fails(use: Callable[[], Awaitable[Any]]) -> str:
    try:
        response = await use()
    except Exception as error:
        return everything_about(error)
    return repr(response)


FAULTS: list[dict[str, Any]] = [
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


@pytest.mark.parametrize("fault", FAULTS)
async def test_failing_mint_shows_nothing(
    sandbox: Sandbox, hidden: Hidden, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The error and the log of a failed mint show no secret."""
    caplog.set_level(logging.DEBUG)
    sandbox.fail_next("token", **fault)
    async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=SHORT_TIMEOUTS, on_event=print) as vbc:
        hidden.none_in(await _fails(vbc.token))
        hidden.none_in(await _fails(lambda: vbc.get("/x")))
        hidden.none_in(repr(vbc.status()))
    hidden.none_in(caplog.text)


async def test_failing_requests_show_nothing(
    sandbox: Sandbox, hidden: Hidden, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """The token is masked in errors of aiohttp, which carry the request's headers."""
    caplog.set_level(logging.DEBUG)
    async with VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=SHORT_TIMEOUTS, on_event=print) as vbc:
        hidden.add((await vbc.token()).value)
        uses: list[Callable[[], Awaitable[Any]]] = [
            lambda: vbc.get("/nowhere", raise_for_status=True),
            lambda: vbc.get("//evil.example"),
            lambda: vbc.get("/x", headers=7),  # type: ignore[arg-type]
            lambda: vbc.get("/x", nonsense=1),  # type: ignore[call-arg]
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


async def test_reprs_show_nothing(sandbox: Sandbox, hidden: Hidden, tmp_path: Path) -> None:
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


def test_bad_settings_show_nothing(hidden: Hidden) -> None:
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
        hidden.none_in(everything_about(caught.value))


@pytest.mark.parametrize("mixed_up", ["CLIENT_ACCOUNT_ID", "KEY_ID", "API_KEY"])
def test_bad_environment_shows_nothing(hidden: Hidden, monkeypatch: pytest.MonkeyPatch, mixed_up: str) -> None:
    """Errors about invalid environment variables do not show their values."""
    for name in ("CLIENT_ACCOUNT_ID", "KEY_ID", "API_KEY"):
        monkeypatch.setenv(f"X_{name}", "two words")
    monkeypatch.setenv(f"X_{mixed_up}", f"{hidden.api_key} and more")
    with pytest.raises(ConfigurationError) as caught:
        Credentials.from_env("X_")
    hidden.none_in(everything_about(caught.value))


async def test_failing_vault_shows_nothing(sandbox: Sandbox, hidden: Hidden) -> None:
    """An error of a credentials callable does not show the locals of that callable."""

    async def vault() -> Credentials:
        await asyncio.sleep(0)
        raise OSError("sealed")

    async with VBCSession(vault, base_url=sandbox.base_url) as vbc:
        text = await _fails(vbc.token)
        hidden.none_in(text)
        assert "sealed" in text
