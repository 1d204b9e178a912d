"""Test the sessions of many accounts in one process, which are opened on demand and closed when idle."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from truecaller_vbc import ConfigurationError, Credentials, SessionClosedError, TokenError, VBCAccounts, VBCSession


class Agency:
    """A token endpoint that knows any account."""

    def __init__(self) -> None:
        app = web.Application()
        app.router.add_post("/clients/{account}/token", self._token)
        app.router.add_get("/wait", self._wait)
        self.server = TestServer(app)
        self.mints: Counter[str] = Counter()
        self.loads: Counter[str] = Counter()
        self.answering = asyncio.Event()

    @property
    def url(self) -> str:
        return str(self.server.make_url("")).rstrip("/")

    async def load(self, account_id: str) -> Credentials:
        self.loads[account_id] += 1
        return Credentials(account_id, "key", "secret")

    async def _token(self, request: web.Request) -> web.Response:
        account = request.match_info["account"]
        self.mints[account] += 1
        return web.json_response({"token": f"{account}-{self.mints[account]}"})

    async def _wait(self, _: web.Request) -> web.Response:
        await self.answering.wait()
        return web.Response()


@pytest_asyncio.fixture
async def agency() -> AsyncIterator[Agency]:
    it = Agency()
    await it.server.start_server()
    yield it
    await it.server.close()


async def _until_closed(vbc: VBCSession) -> None:
    async with asyncio.timeout(10):
        while vbc.is_open_on(asyncio.get_running_loop()):
            await asyncio.sleep(0.01)


async def test_accounts_are_opened_on_demand(agency: Agency) -> None:
    """Each account has one session, however many ask at once, and one mint. Nothing is loaded before its first use."""
    async with VBCAccounts(agency.load, base_url=agency.url) as accounts:
        sessions = await asyncio.gather(*(accounts[name] for name in "abcabc"))
        assert (len(accounts), len(set(map(id, sessions)))) == (3, 3)
        assert not agency.loads
        tokens = await asyncio.gather(*(vbc.token() for vbc in sessions))
        assert {token.value for token in tokens} == {"a-1", "b-1", "c-1"}
        assert set(accounts) == set(sessions)
        assert agency.loads == agency.mints == Counter("abc")
    assert not any(vbc.is_open_on(asyncio.get_running_loop()) for vbc in sessions)


async def test_idle_accounts_are_closed(agency: Agency) -> None:
    """A session that is not used is closed after its time, and is opened again with the token in the store."""
    async with VBCAccounts(agency.load, base_url=agency.url, store="memory://", idle=0.2) as accounts:
        vbc = await accounts["a"]
        await vbc.token()
        await _until_closed(vbc)
        assert len(accounts) == 0
        again = await accounts["a"]
        assert again is not vbc
        assert (await again.token()).value == "a-1"


async def test_account_in_use_stays_open(agency: Agency) -> None:
    """A session that is asked for tokens stays open, although it was got once, and so does one that mints."""
    async with VBCAccounts(agency.load, base_url=agency.url, idle=0.4) as accounts:
        vbc, idle = await accounts["a"], await accounts["b"]
        while idle.is_open_on(asyncio.get_running_loop()):
            await vbc.token()
            await asyncio.sleep(0.02)
        assert vbc.is_open_on(asyncio.get_running_loop())


async def test_request_outlives_its_idle_session(agency: Agency) -> None:
    """A request that takes longer than the idle time is answered, since the accounts share their connections."""
    async with VBCAccounts(agency.load, base_url=agency.url, idle=0.1) as accounts:
        vbc = await accounts["a"]
        request = asyncio.ensure_future(vbc.get("/wait"))
        await _until_closed(vbc)
        agency.answering.set()
        assert (await request).status == 200


async def test_waiting_call_keeps_its_session(agency: Agency) -> None:
    """A session whose typed call waits for its turn is in use."""
    async with VBCAccounts(agency.load, base_url=agency.url) as accounts:
        vbc = await accounts["a"]
        assert vbc.is_idle(0.0)
        limiter = vbc.calls._client.batch
        assert limiter is not None
        limiter.pause_until(asyncio.get_running_loop().time() + 60)
        waiting = asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        assert not vbc.is_idle(0.0)
        waiting.cancel()


async def test_credentials_of_another_account_are_refused(agency: Agency) -> None:
    """Credentials of another account than was asked for are never sent."""

    async def load(_: str) -> Credentials:
        return Credentials("other", "key", "secret")

    async with VBCAccounts(load, base_url=agency.url) as accounts:
        with pytest.raises(TokenError) as caught:
            await (await accounts["a"]).token()
        assert caught.value.__cause__ is not None
        assert isinstance(caught.value.__cause__.__cause__, ConfigurationError)
    assert not agency.mints


async def test_connections_of_the_user_stay_open(agency: Agency) -> None:
    """An aiohttp session that was given is used and not closed."""
    async with aiohttp.ClientSession() as http:
        async with VBCAccounts(agency.load, base_url=agency.url, http=http) as accounts:
            await (await accounts["a"]).token()
        assert not http.closed


@pytest.mark.parametrize("idle", [0, -1.0, float("nan"), "soon"])
def test_wrong_idle_time(idle: Any) -> None:
    """A wrong idle time is an error that names it."""
    with pytest.raises(ConfigurationError, match="idle="):
        VBCAccounts(Agency.load, idle=idle)  # type: ignore[arg-type]


def test_password_of_the_store_is_hidden() -> None:
    """A traceback that shows the locals of its frames does not show the password in the store's URL."""
    with pytest.raises(ConfigurationError) as caught:
        VBCAccounts(Agency.load, store="other://user:hunter2@host")  # type: ignore[arg-type]
    frames = [entry.frame.f_locals for entry in caught.traceback if Path(entry.path).name != "test_accounts.py"]
    assert frames
    assert not any("hunter2" in repr(value) for values in frames for value in values.values())


async def test_accounts_must_be_open(agency: Agency) -> None:
    """Accounts that are not open say how to open them, and a callable is needed."""
    accounts = VBCAccounts(agency.load, base_url=agency.url)
    with pytest.raises(SessionClosedError, match="async with"):
        await accounts["a"]
    await accounts.close()
    with pytest.raises(ConfigurationError, match="load_credentials"):
        VBCAccounts(Credentials("a", "k", "s"))  # type: ignore[arg-type]
