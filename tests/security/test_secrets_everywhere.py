"""Check that no failure shows the API key, the token or the Authorization header in any output."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

import truecaller_vbc
from truecaller_vbc import (
    AccessToken,
    APIPolicy,
    Credentials,
    FileStore,
    RedisStore,
    TokenEndpointError,
    TokenPolicy,
    VBCError,
    VBCSession,
)
from truecaller_vbc.sandbox import Sandbox, SandboxRules
from truecaller_vbc.secret import Secret

from ..api.sandbox_session import record
from ..redis_server import redis_server
from .hidden import Hidden, everything_about

API_KEY: Final = "api-key-0123456789-+/=-0123456789"
CREDENTIALS: Final = Credentials("account", "the-key-id", API_KEY)
POLICY: Final = attrs.evolve(
    TokenPolicy(),
    mint_timeout=timedelta(seconds=0.3),
    rejection_grace=timedelta(0),
    retry_first=timedelta(seconds=0.01),
    retry_most=timedelta(seconds=0.02),
)
API_POLICY: Final = APIPolicy(
    realtime_rate=None, batch_rate=None, timeout=timedelta(seconds=0.2), attempts=2, patience=timedelta(seconds=5)
).scaled(0.01)


class Output:
    """Collect all output of a program at DEBUG, in asyncio's debug mode, with ``on_event=print``."""

    def __init__(self) -> None:
        self.hidden = Hidden(API_KEY)
        self.events: list[object] = []
        self._handler = _LogCollector()

    def start(self) -> None:
        """Attach to every logger."""
        asyncio.get_running_loop().set_debug(True)
        root = logging.getLogger()
        root.addHandler(self._handler)
        root.setLevel(logging.DEBUG)
        for name in ("aiohttp", "aiohttp.client", "aiohttp.access", "asyncio", "truecaller_vbc", "redis", "filelock"):
            logging.getLogger(name).setLevel(logging.DEBUG)

    def stop(self) -> None:
        """Detach from every logger."""
        logging.getLogger().removeHandler(self._handler)

    async def call(self, *calls: Callable[[], Awaitable[Any]]) -> list[str]:
        """Make calls, check what they raise or return, and return the names of their errors."""
        raised: list[str] = []
        for call in calls:
            try:
                result = await call()
            except Exception as error:
                raised.append(type(error).__name__)
                self.hidden.none_in(everything_about(error))
                if isinstance(error, VBCError):
                    assert not hasattr(error, "headers")
                    assert not hasattr(error, "request_info")
            else:
                self.hidden.none_in(repr(result))
        return raised

    def check(self, vbc: VBCSession) -> None:
        """Check everything that a session shows, the log so far, and every event."""
        if (token := vbc.current_token) is not None:
            self.hidden.add(str(token.value))
        shown = [vbc, vbc.status(), vbc.ledger(), vbc.current_token, vbc.calls, vbc.labels, vbc.numbers, self.events]
        self.hidden.none_in("\n".join([*map(repr, shown), *map(str, shown), *self._handler.lines]))


class _LogCollector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(0)
        self.lines: list[str] = []

    def emit(self, entry: logging.LogRecord) -> None:
        self.lines += [self.format(entry), repr(entry.args), repr(vars(entry))]


@pytest.fixture
async def output() -> AsyncIterator[Output]:
    it = Output()
    it.start()
    yield it
    it.stop()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxRules(max_mints=1000), credentials=CREDENTIALS) as it:
        yield it


def _calls(vbc: VBCSession) -> list[Callable[[], Awaitable[Any]]]:
    """Return one call of each kind, including the typed calls."""
    path = f"/clients/{vbc.client_account_id}/labels"

    async def feature_sets() -> list[Any]:
        return [item async for item in vbc.numbers.feature_sets()]

    async def numbers() -> list[Any]:
        return [item async for item in vbc.numbers.numbers()]

    async def push_all() -> list[Any]:
        return [item async for item in vbc.calls.push_all([record(1), record(2)])]

    return [
        vbc.token,
        lambda: vbc.get(path),
        lambda: vbc.post(path, json={"a": 1}, raise_for_status=True),
        lambda: vbc.calls.push(record(0)),
        lambda: vbc.calls.push_batch([record(0)]),
        lambda: vbc.calls.batch_status("a-batch"),
        push_all,
        vbc.labels.list,
        feature_sets,
        numbers,
        lambda: vbc.numbers.publish("a-set", ["+911234567890"]),
        lambda: vbc.numbers.delist("a-set", ["+911234567890"]),
    ]


TOKEN_FAULTS: Final[dict[str, dict[str, Any]]] = {
    **{str(status): {"status": status} for status in (400, 401, 403, 404, 409, 429, 500, 502, 503)},
    "echo": {"status": 400, "body": f'{{"slug": "invalid-input", "message": "no such key: {API_KEY}"}}'},
    "HTML": {"status": 502, "body": f"<html>{API_KEY}</html>", "content_type": "text/html"},
    "no JSON": {"body": f"not JSON {API_KEY}"},
    "no token": {"body": {"token": None, "api_key": API_KEY}},
    "two lines": {"body": {"token": f"{API_KEY}\r\nX: y"}},
    "lost before": {"drop": "before"},
    "lost in the middle": {"drop": "mid"},
    "lost after": {"drop": "after"},
    "hangs": {"delay": float("inf")},
    "trickles": {"slow": 5.0},
    "redirect": {"status": 307, "headers": {"Location": "http://127.0.0.1:9/"}},
    "no times": {"headers": {"Date": "never", "Retry-After": "soon"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKEN_FAULTS)
async def test_failing_mint(sandbox: Sandbox, output: Output, name: str) -> None:
    """A mint that fails shows no secret, neither for the first token nor for a replacement."""
    fault = TOKEN_FAULTS[name]
    async with VBCSession(
        CREDENTIALS,
        base_url=sandbox.base_url,
        policy=POLICY,
        api_policy=API_POLICY,
        on_event=output.events.append,
    ) as vbc:
        sandbox.set_outage("token", **fault)
        raised = await output.call(vbc.token, *_calls(vbc)[1:3])
        output.check(vbc)
        assert raised or name == "no times"
    async with VBCSession(
        CREDENTIALS,
        base_url=sandbox.base_url,
        policy=POLICY,
        api_policy=API_POLICY,
        on_event=output.events.append,
    ) as vbc:
        sandbox.end_outage("token")
        output.hidden.add((await _token(vbc)).value)
        sandbox.set_outage("token", **fault)
        sandbox.revoke_all()
        await output.call(*_calls(vbc)[:4])
        output.check(vbc)
    output.check(vbc)


async def _token(vbc: VBCSession) -> AccessToken:
    """Return a token, with retries, since `mint_timeout` is so short here that a busy machine may exceed it."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(TokenEndpointError):
                return await vbc.token()
            await asyncio.sleep(0.02)


def _echoes(token: str) -> dict[str, dict[str, Any]]:
    """Return answers of an API or a gateway that quote the request."""
    return {
        "slug": {"status": 400, "body": {"slug": "invalid-input", "message": f"odd token {token}", "field": token}},
        "status_info": {"status": 200, "body": {"status_info": {"status": "error", "message": f"Bearer {token}"}}},
        "HTML": {"status": 502, "body": f"<html><p>Authorization: Bearer {token}</p></html>"},
        "text": {"status": 500, "body": f"GET / Authorization={token}"},
        "forbidden": {"status": 403, "body": {"message": f"{token[:20]} {token}"}},
        "escaped": {"status": 418, "body": f"<p>{token.replace('+', '&#43;').replace('/', '&#x2F;')}</p>"},
        "unauthorized": {"status": 401, "body": {"slug": "authorization-error", "message": token}},
        "unparsable": {"status": 500, "body": {"message": f"500/50011 - Failed to parse token {token}"}},
        "limit": {"status": 429, "body": {"message": token}},
        "empty": {"status": 503},
        "lost before": {"drop": "before"},
        "lost in the middle": {"drop": "mid"},
        "lost after": {"drop": "after"},
        "hangs": {"delay": float("inf")},
        "no JSON": {"body": f"ok {token}"},
        "deep": {"body": "[" * 50_000},
        "other types": {"body": {"data": token, "batch_id": [token], "feature_sets": token}},
    }


LONG: Final = "dG9rZW4+/w==abc/def+ghi/jkl+mno/pqr+stu/vwx+yz0=="
QUOTES: Final = [name for name, fault in _echoes(LONG).items() if LONG[:4] in str(fault)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "name"), [*((LONG, name) for name in _echoes("")), *(("short-token", name) for name in QUOTES)]
)
async def test_api_that_quotes_the_token(sandbox: Sandbox, output: Output, name: str, value: str) -> None:
    """No error of a typed call shows a token that the answer quotes, and neither do its causes."""
    sandbox.set_outage("token", body={"token": value})
    output.hidden.add(value)
    async with VBCSession(
        CREDENTIALS,
        base_url=sandbox.base_url,
        policy=POLICY,
        api_policy=API_POLICY,
        on_event=output.events.append,
    ) as vbc:
        await _token(vbc)
        sandbox.set_outage("api", **_echoes(value)[name])
        raised = await output.call(*_calls(vbc)[3:])
        assert len(raised) >= (2 if name == "other types" else 7)
        output.check(vbc)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["down", "corrupt", "open to others", "a directory", "gone", "read-only"])
async def test_failing_store(sandbox: Sandbox, output: Output, tmp_path: Path, how: str) -> None:
    """No outage of a store shows a secret while tokens are minted, revoked and read by the next session."""
    path = tmp_path / "store" / "token.json"
    for step in range(3):
        store = FileStore(path)
        async with VBCSession(
            CREDENTIALS, base_url=sandbox.base_url, policy=POLICY, store=store, on_event=output.events.append
        ) as vbc:
            await output.call(vbc.token)
            output.check(vbc)
            sandbox.revoke_all()
            if step == 1:
                _spoil(path, how)
            await output.call(lambda: vbc.get(f"/clients/{vbc.client_account_id}/labels"), vbc.token)
            output.check(vbc)
            text = Secret(path.read_text(errors="replace") if path.is_file() else "")
            await output.call(_writing(store, text), partial(store.read, "key"))
        path.parent.chmod(0o700)
        output.hidden.none_in(repr(store))


def _writing(store: FileStore, text: Secret) -> Callable[[], Awaitable[bool]]:
    return lambda: store.write("key", str(text))


def _spoil(path: Path, how: str) -> None:
    match how:
        case "corrupt":
            path.write_text(path.read_text()[:-20])
        case "open to others":
            path.chmod(0o644)
        case "a directory":
            path.unlink()
            path.mkdir()
        case "gone":
            path.unlink()
        case "read-only":
            path.parent.chmod(0o500)
        case _:
            path.parent.rename(path.parent.with_name("elsewhere"))
            path.parent.touch()


async def test_failing_redis(sandbox: Sandbox, output: Output) -> None:
    """Neither a killed Redis nor a wrong password shows a secret."""
    with redis_server() as server:
        url = f"redis://user:redis-{API_KEY[:7]}-password@127.0.0.1:{server.port}/0"
        output.hidden.add(f"redis-{API_KEY[:7]}-password")
        await _with_redis(sandbox, output, RedisStore(url))
        store = RedisStore(server.url)
        async with VBCSession(
            CREDENTIALS, base_url=sandbox.base_url, policy=POLICY, store=store, on_event=output.events.append
        ) as vbc:
            await output.call(vbc.token)
            output.check(vbc)
            server.kill()
            sandbox.revoke_all()
            await output.call(lambda: vbc.get(f"/clients/{vbc.client_account_id}/labels"), vbc.token)
            await output.call(lambda: store.write("key", '{"revision": 1}'), lambda: store.read("key"))
            output.check(vbc)
        await store.close()


async def _with_redis(sandbox: Sandbox, output: Output, store: RedisStore) -> None:
    async with VBCSession(
        CREDENTIALS, base_url=sandbox.base_url, policy=POLICY, store=store, on_event=output.events.append
    ) as vbc:
        await output.call(vbc.token)
        output.check(vbc)
        await output.call(lambda: store.read("key"))
    output.hidden.none_in(repr(store))
    await store.close()


async def test_warnings_show_nothing(sandbox: Sandbox, output: Output) -> None:
    """Python's warnings about abandoned responses and sessions show no secret."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with VBCSession(CREDENTIALS, base_url=sandbox.base_url, policy=POLICY) as vbc:
            await vbc.token()
            await vbc.get(f"/clients/{vbc.client_account_id}/labels")
            output.check(vbc)
        gc.collect()
    output.hidden.none_in("".join(str(warning) for warning in caught))
    output.check(vbc)


def test_classes_with_secrets_are_listed() -> None:
    """Each public class with a secret field is listed in this test."""
    values = {"value", "api_key", "authorization"}
    carriers = {
        name
        for name in truecaller_vbc.__all__
        if attrs.has(kind := getattr(truecaller_vbc, name)) and values & {field.name for field in attrs.fields(kind)}
    }
    assert carriers == {"AccessToken", "Credentials"}
