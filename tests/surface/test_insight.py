"""What events, log lines and the status say about the account, and when a session is ready."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import truecaller_vbc
from truecaller_vbc import (
    Credentials,
    MemoryStore,
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


class _BuggyStore(MemoryStore):
    async def read(self, key: str) -> str:
        raise TypeError


async def test_every_log_line_names_account_and_key(caplog: pytest.LogCaptureFixture) -> None:
    """Lines outside of events, too, say whose they are and where they were written; so do the events of calls."""

    def broken(event: object) -> None:
        raise KeyError

    caplog.set_level(logging.DEBUG, "truecaller_vbc")
    async with (
        Sandbox() as sandbox,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url, store=_BuggyStore(), on_event=broken) as vbc,
        VBCSession(sandbox.credentials, base_url=sandbox.base_url) as other,
    ):
        heard: list[Any] = []
        other.subscribe(broken)
        other.subscribe(heard.append)
        await vbc.token()
        await other.labels.list()
        status = vbc.status()

    records: list[Any] = [record for record in caplog.records if record.name == "truecaller_vbc"]
    text = caplog.text
    assert {type(event).__name__ for event in heard} == {"TokenMinted", "CallFinished"}
    assert {(event.account, event.key_id) for event in heard} == {(status.account, status.key_id)}
    for sentence in ("a second VBCSession", "has a bug", "not counted by others", "on_event raised", "minted token"):
        assert sentence in text
    assert {record.getMessage().partition(" (account ")[2] for record in records} == {
        f"{status.account}, key {status.key_id})"
    }
    assert {(record.vbc_account, record.vbc_key_id) for record in records} == {(status.account, status.key_id)}
    assert {record.filename for record in records} == {"session.py", "guards.py", "minter.py", "events.py"}


def test_log_lines_of_an_account_come_from_its_log() -> None:
    """No module that knows the account writes to the logger past `AccountLog`."""
    package = Path(truecaller_vbc.__file__).parent
    users = {str(path.relative_to(package)) for path in package.rglob("*.py") if "getLogger" in path.read_text()}
    # A damaged file belongs to all accounts in it, and webhooks name none.
    without_account = {"stores/file.py", "webhooks/receiver.py", "cli/options.py"}
    assert users == {"account.py"} | without_account


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
