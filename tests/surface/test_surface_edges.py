"""Threads, loops, pickles and secrets where a user would not look for trouble."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import attrs
import pytest

import truecaller_vbc
from truecaller_vbc import (
    AccessToken,
    ConfigurationError,
    Credentials,
    RedisStore,
    SessionClosedError,
    TokenError,
    TokenPolicy,
    VBCSession,
)
from truecaller_vbc.token import document

from ..requests.two_origins import CREDENTIALS, Origin

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
TOKEN_ERRORS = [
    kind
    for name in truecaller_vbc.__all__
    if isinstance(kind := getattr(truecaller_vbc, name), type) and issubclass(kind, TokenError)
]


# Errors and values


@pytest.mark.parametrize("kind", TOKEN_ERRORS)
def test_retry_at_survives_pickling_and_copying(kind: type[TokenError]) -> None:
    """retry_at is what was given, also on the other side of a process pool."""
    error = kind("words", retry_at=NOW)

    for twin in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301
        assert (type(twin), str(twin), twin.retry_at) == (kind, "words", NOW)
    assert kind("words").retry_at is None


def test_every_error_says_what_it_is_for() -> None:
    """Each exported error has a docstring of its own."""
    for name in truecaller_vbc.__all__:
        if name.endswith("Error"):
            assert getattr(truecaller_vbc, name).__doc__ != truecaller_vbc.VBCError.__doc__ or name == "VBCError"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])  # noqa: S301
def test_secrets_stay_masked_in_copies(copied: Callable[[Any], Any]) -> None:
    """Credentials and tokens come out of a copy and a pickle equal, whole, and as masked as they were."""
    credentials = Credentials("account", "key", "the-secret")
    token = AccessToken("the-secret", NOW, NOW + timedelta(hours=1))

    assert (copied(credentials), copied(token)) == (credentials, token)
    assert copied(token).authorization == "Bearer the-secret"
    twins = [copied(credentials), copied(token), attrs.evolve(credentials, key_id="other"), attrs.evolve(token)]
    for twin in twins:
        assert "the-secret" not in repr([twin, attrs.asdict(twin)])


def test_secret_of_a_users_own_kind_of_text_is_masked() -> None:
    """A vault may give texts of a class of its own, whose repr is its own, too."""

    class Theirs(str):
        __slots__ = ()

    credentials = Credentials("account", "key", Theirs("the-secret"))

    assert credentials.api_key == "the-secret"
    assert repr(credentials) == "Credentials(client_account_id='account', key_id='key', api_key=***)"
    assert "the-secret" not in f"{attrs.asdict(credentials)!r} {credentials!r}"


def test_values_are_frozen() -> None:
    """Credentials, tokens and policies cannot be changed under a session that uses them."""
    for value, name in (
        (CREDENTIALS, "api_key"),
        (AccessToken("a", NOW, NOW), "value"),
        (TokenPolicy(), "lifetime"),
    ):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, name, "other")


# Loops and threads


async def test_hot_token_is_not_given_to_another_loop(api: Origin) -> None:
    """The fast path of a fresh token looks at where it is, too: another thread's loop gets a typed error."""
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        await vbc.token()
        await vbc.token()
        assert vbc._holder.fast_token is not None

        with pytest.raises(SessionClosedError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(vbc.token()))
        with pytest.raises(SessionClosedError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(_get(vbc)))

    assert api.authorizations == []


async def _get(vbc: VBCSession) -> None:
    async with vbc.get("/x", headers={"Authorization": "Basic mine"}):
        pass


async def test_middleware_in_another_loop(api: Origin) -> None:
    """A user's session on another loop gets no token of this one."""

    async def elsewhere() -> None:
        async with aiohttp.ClientSession(middlewares=(vbc.auth,)) as mine, mine.get(f"{api.url}/x"):
            pass

    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        await vbc.token()
        await vbc.token()
        with pytest.raises(SessionClosedError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(elsewhere()))

    assert api.authorizations == []


def test_loops_that_do_not_show_their_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """On loops such as uvloop's, a second loop of the same thread is told from the first all the same."""
    monkeypatch.setattr("truecaller_vbc.session.hasattr", lambda *_: False, raising=False)
    vbc = VBCSession(CREDENTIALS, base_url="http://127.0.0.1:9")
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        first.run_until_complete(vbc.__aenter__())
        with pytest.raises(SessionClosedError, match="another event loop"):
            second.run_until_complete(vbc.token())
        with pytest.raises(SessionClosedError, match="another event loop"):
            second.run_until_complete(_get(vbc))
        first.run_until_complete(vbc.close())
    finally:
        for loop in (first, second):
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()


async def test_close_in_mid_mint_ends_requests_too(api: Origin) -> None:
    """Requests that wait for a token are told that the session was closed, and are not sent."""
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        waiting = asyncio.create_task(_plain_get(vbc))
        await asyncio.sleep(0)
        await vbc.close()
        with pytest.raises(SessionClosedError, match="closed"):
            await waiting

    assert api.authorizations == []


async def _plain_get(vbc: VBCSession) -> None:
    async with vbc.get("/x"):
        pass


# Secrets


def test_document_that_does_not_fit_is_not_quoted() -> None:
    """What is wrong with a stored document is told without the token in it."""
    text = json.dumps({"revision": "the-secret", "keys": {"a": {"token": {"value": ["the-secret"]}}}})
    with pytest.raises(ValueError, match="not a token document") as caught:
        document.load(text)

    shown = "".join(traceback.format_exception(caught.value))
    assert "the-secret" not in shown


class _TalkativeStore:
    """A store whose driver quotes the document in whatever goes wrong."""

    def __init__(self, working: set[str]) -> None:
        self._working = working

    async def read(self, _: str) -> str | None:
        self._fail_unless("read")
        return None

    async def write(self, _: str, __: str) -> bool:
        self._fail_unless("write")
        return True

    @asynccontextmanager
    async def lease(self, _: str, __: float) -> AsyncIterator[bool]:
        self._fail_unless("lease")
        yield True

    def _fail_unless(self, call: str) -> None:
        if call not in self._working:
            raise OSError("could not send SET the-secret")


@pytest.mark.parametrize("working", [set(), {"read"}, {"read", "lease"}])
async def test_store_failures_are_not_quoted(api: Origin, working: set[str], caplog: pytest.LogCaptureFixture) -> None:
    """What a store's driver says may quote the document, and reaches neither the caller nor the log nor an event."""
    caplog.set_level(0)
    events: list[object] = []
    api.fail_token = 503
    store = _TalkativeStore(working)
    async with VBCSession(CREDENTIALS, base_url=api.url, store=store, on_event=events.append) as vbc:
        with pytest.raises(TokenError) as caught:
            await vbc.token()

        shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(events) + repr(vbc.status())
    assert "OSError" in shown
    assert "the-secret" not in shown


# Open bugs, as the contract wants it. Each mark goes with the mending (a test that passes is an error here).


@pytest.mark.parametrize("seconds", [1e300, 10**400], ids=["float", "int"])
def test_policy_beyond_all_time(seconds: float) -> None:
    """A duration that no timedelta can hold is a wrong setting like another."""
    with pytest.raises(ConfigurationError, match="TokenPolicy"):
        TokenPolicy(lifetime=seconds)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="scaled"):
        TokenPolicy().scaled(seconds)


@pytest.mark.parametrize("field", ["key_id", "api_key"])
def test_credentials_that_are_no_text(field: str) -> None:
    """Bytes of the environment that are not UTF-8 come as lone surrogates, which nothing can send."""
    values = {"client_account_id": "account", "key_id": "key", "api_key": "secret", field: "abc\udcff"}
    with pytest.raises(ConfigurationError, match=field):
        Credentials(**values)


@pytest.mark.parametrize("url", ["https://vbc exa.mple", "https://vbc.example\x00"])
def test_base_url_with_a_host_that_none_can_have(url: str) -> None:
    """White space and control characters in the host are a wrong setting, not a DNS failure later."""
    with pytest.raises(ConfigurationError, match="base_url="):
        VBCSession(CREDENTIALS, base_url=url)


def test_default_base_url_is_the_documented_one() -> None:
    """API reference, "Base URL"."""
    assert str(VBCSession(CREDENTIALS).base_url) == "https://enterprise-portal-noneu.truecaller.com"


async def test_reading_the_current_token_is_demand(api: Origin) -> None:
    """Who only ever looks at it uses it, so the background keeps it fresh."""
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        token = await vbc.token()
        vbc._holder._clear_fast_token()
        vbc._holder.state.used = False

        assert vbc.current_token is token
        assert vbc._holder.state.used


async def test_store_of_a_url_is_closed_with_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made its connections closes them."""
    closed: list[object] = []

    async def close(store: RedisStore) -> None:
        closed.append(store)

    monkeypatch.setattr(RedisStore, "close", close)
    async with VBCSession(CREDENTIALS, store="redis://127.0.0.1:9/0") as vbc:
        assert closed == []
    assert closed == [vbc._our_store]


def test_all_is_closed_when_the_loop_ends_in_mid_close() -> None:
    """A caller who is cancelled twice does not wait for the close, and the end of the loop cancels that, too."""
    sessions: list[aiohttp.ClientSession] = []

    async def vault() -> Credentials:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(60)  # it has something to clear away, too
        return CREDENTIALS

    async def user() -> None:
        async with VBCSession(vault) as vbc:
            assert vbc._http is not None
            sessions.append(vbc._http)
            await vbc.token()

    async def main() -> None:
        task = asyncio.create_task(user())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert [http.closed for http in sessions] == [True]
