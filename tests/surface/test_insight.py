"""What events, log lines and the status say about the account, and when a session is ready."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from truecaller_vbc import (
    Credentials,
    MintFailed,
    RefreshFailed,
    StoreRecovered,
    StoreUnavailable,
    TokenAdopted,
    TokenError,
    TokenMinted,
    TokenRejected,
    VBCSession,
)
from truecaller_vbc.sandbox import Sandbox

from ..requests.two_origins import CREDENTIALS, NO_GRACE, Origin

ACCOUNT = hashlib.sha256(b"account").hexdigest()[:8]


async def test_events_log_and_status_name_account_and_key(caplog: pytest.LogCaptureFixture) -> None:
    """Each event, log line and status has a short hash of the account and the key ID; the account's ID is in none."""
    caplog.set_level(logging.INFO, "truecaller_vbc")
    events: list[Any] = []
    heard: list[Any] = []
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, policy=NO_GRACE, on_event=events.append) as vbc,
    ):
        account_id, key_id = sandbox.credentials.client_account_id, sandbox.credentials.key_id
        account = hashlib.sha256(account_id.encode()).hexdigest()[:8]
        unsubscribe = vbc.subscribe(heard.append)
        token = await vbc.token()
        sandbox.revoke_all()
        async with vbc.get(f"/clients/{account_id}/labels"):
            pass
        unsubscribe()
        await vbc.token()
        status = vbc.status()

    assert [type(event) for event in events] == [TokenMinted, TokenRejected, TokenMinted]
    assert heard == events
    assert {(event.account, event.key_id) for event in events} == {(account, key_id)}
    assert (status.account, status.key_id) == (account, key_id)
    assert events[0].to_dict()["event"] == "TokenMinted"
    entry: Any = caplog.records[0]
    assert entry.getMessage().startswith(f"minted token {token.fingerprint} in ")
    assert entry.getMessage().endswith(f" mints left (account {account}, key {key_id})")
    assert (entry.vbc_event, entry.vbc_account, entry.vbc_mints_left) == ("TokenMinted", account, 9)
    assert account_id not in caplog.text + repr(events) + repr(status)


async def test_vault_account_is_unknown_at_first(api: Origin) -> None:
    """Before a credentials callable was called, account and key are empty, and the session is ready."""

    async def vault() -> Credentials:
        return CREDENTIALS

    async with VBCSession(vault, base_url=api.url) as vbc:
        before = vbc.status()
        await vbc.token()

        assert (before.account, before.key_id, before.ready) == ("", "", True)
        assert (vbc.status().account, vbc.status().ready) == (ACCOUNT, True)


async def test_ready(api: Origin) -> None:
    """A session is ready when it has a token or may mint one now, and not while it must wait."""
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        assert (vbc.status().state, vbc.status().ready) == ("empty", True)
        api.fail_token = 401
        with pytest.raises(TokenError):
            await vbc.token()
        assert not vbc.status().ready
    api.fail_token = 0
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        await vbc.token()
        assert vbc.status().ready


WHEN = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (TokenMinted("12345678", 1, WHEN, 9, seconds=0.5), "minted token 12345678 in 0.50 s, 9 mints left"),
        (TokenAdopted("12345678", 1, WHEN), "adopted token 12345678 from the store"),
        (MintFailed(TokenError("why")), "no token was obtained: why"),
        (RefreshFailed(TokenError("why"), None), "the token was not refreshed, and the current one stays in use: why"),
        (TokenRejected("12345678", replaced=False), "the API rejected token 12345678, which is not replaced"),
        (TokenRejected("12345678", replaced=True), "the API rejected token 12345678, which is replaced"),
        (
            StoreUnavailable("OSError"),
            "the token store failed (OSError): tokens are minted for this process alone until it works again",
        ),
        (StoreRecovered(), "the token store works again"),
    ],
)
def test_events_are_plain_sentences(event: object, sentence: str) -> None:
    """The text of each event is one sentence."""
    assert str(event) == sentence
