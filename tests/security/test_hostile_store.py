"""Read hostile documents from each store: a token is adopted or minted, and nothing hostile is sent."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from truecaller_vbc import FileStore, MemoryStore, TokenError, TokenStore, VBCSession
from truecaller_vbc.token import document
from truecaller_vbc.token.document import Document, short_hash

from ..redis_server import redis_server
from ..requests.two_origins import CREDENTIALS, Origin, origin

EXAMPLES: Final = int(os.environ.get("TRUECALLER_VBC_EXAMPLES", "40"))
KEY: Final = short_hash(CREDENTIALS.key_id)
NAN, INFINITE = float("nan"), float("inf")
TEN: Final = range(10)


def _text(*, token: Any = None, failure: Any = None, **top: Any) -> str:
    """Return a document as a session writes it, changed as given."""
    token = {"value": "a-token", "created_at": "2026-01-01T00:00:00Z", "starts_at": time.time(), **(token or {})}
    state = {"generation": 1, "token": token, "failure": failure}
    return json.dumps({"revision": 1, "attempts": [], "full_until": None, "keys": {KEY: state}, "version": 1, **top})


def _failure(**fields: Any) -> dict[str, Any]:
    return {"kind": "TokenEndpointError", "message": "down", "retry_at": time.time() + 60, "count": 1, **fields}


def _attempts(at: Any) -> list[dict[str, Any]]:
    return [{"id": str(i), "at": at, "outcome": "minted", "by": "?"} for i in TEN]


ENDED: Final = {"starts_at": 0}
HOSTILE: Final = {
    "header": _text(token={"value": "a\r\nX-Evil: 1"}),
    "line feed": _text(token={"value": "a\nX-Evil: 1"}),
    "nul": _text(token={"value": "a\0"}),
    "not ASCII": _text(token={"value": "ключ"}),
    "lone surrogate": _text(token={"value": "\ud800"}),
    "blank": _text(token={"value": ""}),
    "two words": _text(token={"value": "a b"}),
    "a megabyte": _text(token={"value": "a" * 2**20}),
    "no start": _text(token={"starts_at": NAN}),
    "endless": _text(token={"starts_at": INFINITE}),
    "beyond all dates": _text(token={"starts_at": 1e300}),
    "attempts at no time": _text(token=ENDED, attempts=_attempts(NAN)),
    "attempts for ever": _text(token=ENDED, attempts=_attempts(INFINITE)),
    "full for ever": _text(token=ENDED, full_until=INFINITE),
    "failure at no time": _text(token=ENDED, failure=_failure(retry_at=NAN)),
    "failure for ever": _text(token=ENDED, failure=_failure(retry_at=INFINITE)),
    "failures without end": _text(token=ENDED, failure=_failure(retry_at=0, count=10**400)),
    "failures before the first": _text(token=ENDED, failure=_failure(retry_at=0, count=-(10**400))),
    "the last revision": _text(token=ENDED, revision=10**4300 - 1),
    "the last generation": _text(token=ENDED).replace('"generation": 1', '"generation": ' + "9" * 4300),
    "negative revision": _text(revision=-5),
    "ten thousand attempts": _text(attempts=_attempts(0) * 1_000),
    "deep": "[" * 100_000,
    "deeper": '{"keys":' * 100_000,
    "not UTF-8 once": "\udcff",
    "other types": _text(token={"starts_at": [1]}),
}


class PlantedStore(MemoryStore):
    """A store that returns one text for any key, until something is written."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    async def read(self, key: str) -> str | None:
        self._documents.setdefault(key, self._text)
        return await super().read(key)


@pytest.mark.parametrize("what", HOSTILE)
async def test_hostile_document_costs_one_mint(api: Origin, what: str) -> None:
    """The first mint replaces a hostile document, and the next session adopts its token."""
    store = PlantedStore(HOSTILE[what])
    async with asyncio.timeout(10):
        for _ in range(2):
            async with VBCSession(CREDENTIALS, base_url=api.url, store=store) as vbc:
                async with vbc.get("/x") as response:
                    assert response.status == 200
                assert vbc.ledger()
                assert vbc.status().state == "fresh"
    assert api.mints == 1
    assert api.authorizations == ["Bearer token1"] * 2


async def test_token_of_the_far_future_is_replaced(api: Origin) -> None:
    """No token begins more than a window from now, so one that does is dropped."""
    store = PlantedStore(_text(token={"starts_at": time.time() + 10**9}))
    async with VBCSession(CREDENTIALS, base_url=api.url, store=store) as vbc:
        token = await vbc.token()
    assert token.value == "token1"


async def test_stored_text_stays_on_one_line(api: Origin, caplog: pytest.LogCaptureFixture) -> None:
    """Stored messages and names that reach errors and logs contain no line breaks or escape codes."""
    evil = "down\r\nCRITICAL all is well\x1b[2J\u2028"
    attempts = [{**entry, "by": evil} for entry in _attempts(time.time())[:1]]
    store = PlantedStore(_text(token=ENDED, failure=_failure(message=evil), attempts=attempts))
    caplog.set_level(0)
    async with VBCSession(CREDENTIALS, base_url=api.url, store=store) as vbc:
        with pytest.raises(Exception, match="down") as caught:
            await vbc.token()
        shown = [str(caught.value), *(entry.by for entry in vbc.ledger()), *(r.getMessage() for r in caplog.records)]
    assert any("CRITICAL" in text for text in shown)
    assert all(text.isprintable() for text in shown)


def test_own_documents_are_accepted() -> None:
    """The checks accept what a session writes."""
    text = _text(failure=_failure(), attempts=_attempts(1.5), full_until=2.5)
    assert document.dump(document.load(text)) == document.dump(document.load(document.dump(document.load(text))))
    assert document.load(text).keys[KEY].token is not None


# Arbitrary input

_stamps = st.floats() | st.integers() | st.integers(0, 10**10) | st.none() | st.text(max_size=3)
_words = st.text(max_size=20) | st.sampled_from(["a-token", "TokenEndpointError", "CredentialsRejectedError", "minted"])
_any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
_token = st.fixed_dictionaries({"value": _words, "created_at": _words, "starts_at": _stamps})
_failed = st.fixed_dictionaries(
    {"kind": _words, "message": _words, "retry_at": _stamps, "count": st.integers() | _any, "api_key": _any | _words}
)
_attempt = st.fixed_dictionaries({"id": _words, "at": _stamps, "outcome": _words, "by": _words})
_state = st.fixed_dictionaries({"generation": st.integers() | _any, "token": _token | _any, "failure": _failed | _any})
_document = st.fixed_dictionaries(
    {
        "revision": st.integers() | _any,
        "attempts": st.lists(_attempt, max_size=12) | _any,
        "full_until": _stamps,
        "keys": st.fixed_dictionaries({KEY: _state | _any}),
        "version": st.just(1),
    }
)
_texts = _document.map(json.dumps) | _any.map(json.dumps) | st.text(max_size=50)


@pytest.mark.slow
@settings(max_examples=EXAMPLES * 2, deadline=None)
@given(_texts)
def test_any_text_is_a_document_or_a_value_error(text: str) -> None:
    """Loading raises no error but ValueError, and what was loaded can be written and loaded again."""
    try:
        loaded = document.load(text)
    except ValueError:
        return
    assert isinstance(loaded, Document)
    assert document.load(document.dump(loaded)) == loaded


@pytest.fixture(scope="module")
def server_and_runner() -> Iterator[tuple[asyncio.Runner, Origin]]:
    """Open one loop and one server for all examples."""
    with asyncio.Runner() as runner:
        server = origin()
        api = runner.run(server.__aenter__())
        yield runner, api
        runner.run(server.__aexit__(None, None, None))


async def _use_session(api: Origin, store: TokenStore) -> None:
    """Use a session with a strange document: it gets a working token, or a failure that the document states."""
    mints = api.mints
    async with asyncio.timeout(10), VBCSession(CREDENTIALS, base_url=api.url, store=store) as vbc:
        try:
            token = await vbc.token()
        except TokenError as error:
            assert "unexpected" not in str(error)
            assert error.retry_at is not None
            assert api.mints == mints
        else:
            async with vbc.get("/x") as response:
                assert response.status == 200
            assert api.authorizations[-1] == f"Bearer {token.value!s}"
        vbc.status()
        vbc.ledger()


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None)
@given(text=_texts)
def test_any_text_in_a_memory_store(server_and_runner: tuple[asyncio.Runner, Origin], text: str) -> None:
    """Any text in a memory store is adopted, replaced by a mint, or believed for a while as a failure."""
    runner, api = server_and_runner
    runner.run(_use_session(api, PlantedStore(text)))


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None)
@given(content=st.binary(max_size=60) | _any.map(json.dumps).map(str.encode) | _texts)
def test_any_content_of_a_file_store(
    server_and_runner: tuple[asyncio.Runner, Origin], tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    """Any content of a file is handled likewise, and the copy of a damaged file is private."""
    runner, api = server_and_runner
    path = tmp_path_factory.mktemp("store") / "token.json"
    key = short_hash(api.url, CREDENTIALS.client_account_id)
    raw = content if isinstance(content, bytes) else json.dumps({"documents": {key: content}}).encode()
    _put(path, raw)
    runner.run(_use_session(api, FileStore(path)))
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


def _put(path: Path, raw: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(raw)


STRANGE: Final = {
    "nothing": b"",
    "not UTF-8": b"\xff\xfe",
    "text as a revision": json.dumps({"revision": "7", "version": 99}).encode(),
    "half a revision": json.dumps({"revision": 7.5, "version": 99}).encode(),
    "no last revision": json.dumps({"revision": 10**30, "version": 99}).encode(),
    "endless revision": b'{"revision": Infinity}',
    "deep": b"[" * 5000,
    "header": HOSTILE["header"].encode(),
}


@pytest.fixture(scope="module")
def redis_at() -> Iterator[str]:
    with redis_server() as server:
        yield server.url


@pytest.mark.parametrize("what", STRANGE)
async def test_strange_value_in_redis_is_replaced(api: Origin, redis_at: str, what: str) -> None:
    """One mint replaces a strange value in Redis: a value without a valid revision is older than any document."""
    key = short_hash(api.url, CREDENTIALS.client_account_id)
    async with Redis.from_url(redis_at) as redis:
        await redis.set(f"{{truecaller_vbc:{key}}}:document", STRANGE[what])
    for _ in range(2):
        async with asyncio.timeout(10), VBCSession(CREDENTIALS, base_url=api.url, store=redis_at) as vbc:
            await vbc.token()
    assert api.mints == 1
