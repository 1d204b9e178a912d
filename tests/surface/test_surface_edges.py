"""Sessions on several threads and loops, copies and pickles, and secrets in unusual places."""

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
    """retry_at survives copying and pickling."""
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
    """Copied and pickled credentials and tokens are equal and still masked."""
    credentials = Credentials("account", "key", "the-secret")
    token = AccessToken("the-secret", NOW, NOW + timedelta(hours=1))

    assert (copied(credentials), copied(token)) == (credentials, token)
    assert copied(token).authorization == "Bearer the-secret"
    twins = [copied(credentials), copied(token), attrs.evolve(credentials, key_id="other"), attrs.evolve(token)]
    for twin in twins:
        assert "the-secret" not in repr([twin, attrs.asdict(twin)])


def test_str_subclass_is_masked() -> None:
    """An API key whose class is a subclass of str is masked too."""

    class Theirs(str):
        __slots__ = ()

    credentials = Credentials("account", "key", Theirs("the-secret"))

    assert credentials.api_key == "the-secret"
    assert repr(credentials) == "Credentials(client_account_id='account', key_id='key', api_key=***)"
    assert "the-secret" not in f"{attrs.asdict(credentials)!r} {credentials!r}"


def test_values_are_frozen() -> None:
    """Credentials, tokens and policies cannot be changed."""
    for value, name in (
        (CREDENTIALS, "api_key"),
        (AccessToken("a", NOW, NOW), "value"),
        (TokenPolicy(), "lifetime"),
    ):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, name, "other")


# Loops and threads


async def test_fast_path_checks_the_loop(api: Origin) -> None:
    """The fast path checks the loop as well: another thread's loop gets an error."""
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
    """The middleware raises an error on another loop."""

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
    """Without access to the loop's thread, a second loop of the same thread is still told from the first."""
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
    """Requests that wait for a token fail with SessionClosedError, and are not sent."""
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


def test_invalid_document_is_not_quoted() -> None:
    """The error about an invalid document does not quote it."""
    text = json.dumps({"revision": "the-secret", "keys": {"a": {"token": {"value": ["the-secret"]}}}})
    with pytest.raises(ValueError, match="not a token document") as caught:
        document.load(text)

    shown = "".join(traceback.format_exception(caught.value))
    assert "the-secret" not in shown


class _QuotingStore:
    """A store whose errors quote the document."""

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
    """Errors of a store, which may quote the document, reach no caller, log or event."""
    caplog.set_level(0)
    events: list[object] = []
    api.fail_token = 503
    store = _QuotingStore(working)
    async with VBCSession(CREDENTIALS, base_url=api.url, store=store, on_event=events.append) as vbc:
        with pytest.raises(TokenError) as caught:
            await vbc.token()

        shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(events) + repr(vbc.status())
    assert "OSError" in shown
    assert "the-secret" not in shown


# Further settings


@pytest.mark.parametrize("seconds", [1e300, 10**400], ids=["float", "int"])
def test_duration_too_large_for_a_timedelta(seconds: float) -> None:
    """A duration that no timedelta can hold is refused like any wrong setting."""
    with pytest.raises(ConfigurationError, match="TokenPolicy"):
        TokenPolicy(lifetime=seconds)
    with pytest.raises(ConfigurationError, match="scaled"):
        TokenPolicy().scaled(seconds)


@pytest.mark.parametrize("field", ["key_id", "api_key"])
def test_credentials_with_surrogates(field: str) -> None:
    """Credentials with lone surrogates, which come from bytes that are not UTF-8, are refused."""
    values = {"client_account_id": "account", "key_id": "key", "api_key": "secret", field: "abc\udcff"}
    with pytest.raises(ConfigurationError, match=field):
        Credentials(**values)


@pytest.mark.parametrize("url", ["https://vbc exa.mple", "https://vbc.example\x00"])
def test_base_url_with_an_impossible_host(url: str) -> None:
    """A host with white space or control characters is refused at construction."""
    with pytest.raises(ConfigurationError, match="base_url="):
        VBCSession(CREDENTIALS, base_url=url)


def test_default_base_url_is_the_documented_one() -> None:
    """The default base URL is the one of the API reference, section "Base URL"."""
    assert str(VBCSession(CREDENTIALS).base_url) == "https://enterprise-portal-noneu.truecaller.com"


async def test_reading_the_current_token_counts_as_use(api: Origin) -> None:
    """Reading `current_token` counts as use, so the background keeps refreshing."""
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        token = await vbc.token()
        vbc._holder._clear_fast_token()
        vbc._holder.state.used = False

        assert vbc.current_token is token
        assert vbc._holder.state.used


async def test_store_of_a_url_is_closed_with_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that the session made from a URL is closed with the session."""
    closed: list[object] = []

    async def close(store: RedisStore) -> None:
        closed.append(store)

    monkeypatch.setattr(RedisStore, "close", close)
    async with VBCSession(CREDENTIALS, store="redis://127.0.0.1:9/0") as vbc:
        assert closed == []
    assert closed == [vbc._our_store]


def test_all_is_closed_when_the_loop_ends_in_mid_close() -> None:
    """If the loop ends while a close is running, the session's connections are still closed."""
    sessions: list[aiohttp.ClientSession] = []

    async def vault() -> Credentials:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(60)  # closing takes time too
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
