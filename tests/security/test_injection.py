"""Check that input from users, the environment and the server cannot add headers, requests or other hosts."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from truecaller_vbc import ConfigurationError, Credentials, FileStore, RedisStore, VBCSession
from truecaller_vbc.secret import Secret
from truecaller_vbc.session import checked_base_url
from truecaller_vbc.stores import open_store
from truecaller_vbc.token.endpoint import TokenEndpoint
from truecaller_vbc.token.policy import TokenPolicy

from ..requests.two_origins import CREDENTIALS, NO_GRACE, Origin
from .hidden import Hidden, everything_about
from .relay import Relay

EXAMPLES: Final = int(os.environ.get("TRUECALLER_VBC_EXAMPLES", "40")) * 3
EVIL: Final = "x\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1\r\n"
TRICKS: Final = [
    "\r",
    "\n",
    "\0",
    "\\",
    "@",
    "#",
    "?",
    "%0d%0a",
    "%2e",
    "..",
    "//",
    ":",
    "[",
    "é",
    "\ud800",
    "\uff0e",
    "\uff0f",
    " ",
]
_tricky: Final = st.lists(st.sampled_from([*TRICKS, "evil.example", "a", "/", "http", "127.0.0.1"])).map("".join)


@pytest.fixture
async def wire(api: Origin) -> AsyncIterator[Relay]:
    """Record every byte on its way to `api`."""
    relay = Relay()
    async with relay.open(relay.terminator(int(api.server.port or 0))):
        yield relay


@pytest.fixture
async def vbc(wire: Relay) -> AsyncIterator[VBCSession]:
    async with VBCSession(CREDENTIALS, base_url=wire.url, policy=NO_GRACE) as session:
        yield session


def _heads(wire: Relay) -> list[list[str]]:
    """Return the lines of the head of each request."""
    parts = re.findall(rb"[A-Z]+ [^\r\n]+ HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*\r\n", bytes(wire.seen))
    return [part.decode("latin-1").split("\r\n") for part in parts]


def _no_injection(wire: Relay, requests: int) -> None:
    heads = _heads(wire)
    assert len(heads) == requests
    for head in heads:
        assert not any(line.lower().startswith("x-evil") for line in head), head
        assert [line for line in head if line.startswith("Host:")] == [f"Host: 127.0.0.1:{wire.port}"]


# Paths

PATHS: Final = [
    "/x\r\nX-Evil: 1",
    "/x HTTP/1.1\r\nX-Evil: 1\r\n\r\n",
    "/x\0",
    "/%0d%0aX-Evil: 1",
    "/\\evil.example/x",
    "\\\\evil.example\\x",
    "/\t/evil.example/x",
    "/.//evil.example/x",
    "/..//evil.example/x",
    "/@evil.example",
    "@evil.example/x",
    ":80@evil.example/x",
    "/x#@evil.example",
    "?@evil.example",
    "/%2f%2fevil.example",
    "/%5cevil.example",
    "/x?y=\r\nX-Evil: 1",
    "/ü/☃",
    "/\ud800",
    "///evil.example/x",
    "http:\\\\evil.example/x",
    "",
]


@pytest.mark.parametrize("path", PATHS)
async def test_path_stays_a_path(vbc: VBCSession, wire: Relay, path: str) -> None:
    """Every path becomes one request to our origin."""
    async with vbc.get(path) as response:
        assert response.status in (200, 404)
    _no_injection(wire, 2)


@pytest.mark.parametrize(
    "path",
    [
        "http://127.0.0.1:{port}@evil.example/x",
        "http://127.0.0.1:{port}\\@evil.example/x",
        "http://evil.example#@127.0.0.1:{port}/x",
        "http://127.0.0.1:{port}.evil.example/x",
        "http://127.0.0.1.evil.example:{port}/x",
        "https://127.0.0.1:{port}/x",
        "http://\uff11\uff12\uff17.0.0.2:{port}/x",
        "http://xn--/x",
        "//evil.example\\@127.0.0.1:{port}/x",
        "javascript:alert(1)",
        "file:///etc/passwd",
    ],
)
async def test_url_that_only_looks_like_ours(vbc: VBCSession, wire: Relay, path: str) -> None:
    """A URL that resembles ours raises an error before anything is sent, including a mint."""
    with pytest.raises(ConfigurationError):
        await vbc.get(path.format(port=wire.port))
    assert wire.seen == b""


async def test_other_spellings_of_our_own_host(vbc: VBCSession, wire: Relay) -> None:
    """Other spellings of our host are compared in the form in which they are sent."""
    for host in ("\uff11\uff12\uff17.0.0.1", "127。0。0。1"):
        async with vbc.get(f"http://{host}:{wire.port}/x") as response:
            assert response.status == 200
    _no_injection(wire, 3)


@settings(max_examples=EXAMPLES, deadline=None)
@given(path=st.text(max_size=30) | _tricky | _tricky.map(lambda text: "/" + text) | _tricky.map("http:{}".format))
@example("/\ud800")
@example("http://xn--/")
def test_any_path_leads_to_our_origin_or_nowhere(path: str) -> None:
    """A URL built from any path has our scheme, host and port, and no user, or it is refused."""
    session = VBCSession(CREDENTIALS, base_url="https://vbc.example")
    try:
        url = session._transport.url(path)
    except ConfigurationError:
        return
    assert url.origin() == URL("https://vbc.example")
    assert (url.raw_user, url.raw_password, url.raw_host, url.port) == (None, None, "vbc.example", 443)
    assert re.fullmatch(r"[\x21-\x7e\ud800-\udfff]+", url.raw_path_qs)  # surrogates cannot be sent


# Headers and parameters of users

HEADERS: Final[list[dict[str, Any]]] = [
    {"headers": {"X-Mine": EVIL}},
    {"headers": {EVIL: "x"}},
    {"headers": {"X-Mine": "a\nX-Evil: 1"}},
    {"headers": {"X-Mine": "a\0"}},
    {"headers": {"Authorization": EVIL}},
    {"cookies": {"a": EVIL}},
    {"headers": {"Host": "a\r\nX-Evil: 1"}},
]


@pytest.mark.parametrize("options", HEADERS)
async def test_header_of_the_user_ends_no_line(vbc: VBCSession, wire: Relay, options: dict[str, Any]) -> None:
    """A header of the user with a line break is refused or escaped, and the error shows no token."""
    hidden = Hidden((await vbc.token()).value)
    try:
        async with vbc.get("/x", **options) as response:
            assert response.status < 500
    except Exception as error:
        hidden.none_in(everything_about(error))
    assert b"\nX-Evil" not in wire.seen
    assert b"\nGET /evil" not in wire.seen


@pytest.mark.parametrize("given", [EVIL, "a&page=7", "a#b", "a/../b", "a?b=c", "%0d%0a", "é☃", "../../token"])
async def test_ids_and_filters_stay_values(vbc: VBCSession, wire: Relay, api: Origin, given: str) -> None:
    """IDs and filters arrive as one value of the query; a feature set ID, which is in the path, is checked."""
    api.body = b'{"batch_id": "b", "data": [], "feature_sets": [], "numbers": []}'
    await vbc.calls.batch_status(given)
    async for _ in vbc.numbers.feature_sets(department_id=given, operation_id=given, process_id=given):
        pass
    async for _ in vbc.numbers.numbers(feature_set_id=given, department_id=given):
        pass
    _no_injection(wire, 4)
    queries = [parse_qs(urlsplit(head[0].split(" ")[1]).query, strict_parsing=True) for head in _heads(wire)[1:]]
    assert queries == [
        {"batchId": [given]},
        {"department_id": [given], "operation_id": [given], "process_id": [given]},
        {"feature_set_id": [given], "department_id": [given]},
    ]
    with pytest.raises(ConfigurationError, match="feature_set_id"):
        await vbc.numbers.publish(given, ["+911234567890"])
    assert len(_heads(wire)) == 4


# Settings


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None)
@given(*[st.text(max_size=12) | _tricky] * 3)
def test_any_credentials_make_one_path(account: str, key_id: str, api_key: str) -> None:
    """Any credentials are refused, or the account is one segment of the URL and all three values can be sent."""
    try:
        credentials = Credentials(account, key_id, api_key)
    except ConfigurationError as error:
        assert len(api_key) < 6 or api_key not in str(error)
        return
    endpoint = TokenEndpoint(URL("https://vbc.example"), TokenPolicy())
    url = endpoint.base_url / "clients" / credentials.client_account_id / "token"
    assert url.raw_path == f"/clients/{account}/token"
    (key_id + api_key).encode()
    assert not re.search(r"[\s\x00-\x1f\x7f]", key_id + api_key)


_labels = st.text("abcXYZ019-_.é\uff0e。", max_size=8) | st.sampled_from(
    ["localhost", "127.0.0.1", "127.1", "[::1]", "xn--"]
)
_urls = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["https", "http", "HTTPS", "ftp", "//"]),
    st.lists(_labels | _tricky, max_size=3).map(".".join),
    st.sampled_from(["", ":443", ":0", ":99999", ":x", ":\uff18\uff10"]),
    st.sampled_from(["", "/", "/x", "?a", "#b", "\r\n"]),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(max_size=30) | _tricky | _urls)
@example("https://xn--")
@example("https://[]@")
@example("https://a..b")
@example("https://" + "a" * 64)
@example("http://127.evil")
@example("http://127.0.0.1.evil.example")
def test_any_base_url_is_an_origin_or_refused(text: str) -> None:
    """Any base URL is refused, or has a valid host, no user, no path, and TLS unless it is loopback."""
    try:
        url = checked_base_url(text, allow_http=False)
    except ConfigurationError:
        return
    host = url.raw_host or ""
    assert url.scheme == "https" or host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host)
    assert (url.raw_user, url.raw_password, url.raw_path_qs, url.raw_fragment) == (None, None, "/", "")
    assert host.encode("idna").isascii()
    assert re.fullmatch(r"[A-Za-z0-9._:%-]+", host)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.text(max_size=20)
    | _tricky.map("file:{}".format)
    | _tricky.map("file:///{}".format)
    | _tricky.map("redis://{}".format)
    | st.builds(
        "rediss://h/{}?{}={}".format, _tricky, st.sampled_from(["db", "ssl_cert_reqs", "timeout", "x"]), _tricky
    )
)
@example("file://[")
@example("redis://h?socket_timeout=x")
def test_any_store_url_is_a_store_or_refused(text: str) -> None:
    """Any store URL gives a store or a ConfigurationError."""
    try:
        store = open_store(text)
    except ConfigurationError:
        return
    if isinstance(store, FileStore):
        os.fsencode(store._path)
        assert "\0" not in str(store._path)


@pytest.mark.parametrize("rest", ["[", "host:port", "host?x=1", "host?db=x&socket_timeout=x"])
@pytest.mark.parametrize("scheme", ["redis", "rediss", "postgres", "file"])
def test_password_in_a_store_url_is_not_shown(scheme: str, rest: str) -> None:
    """A password in a store URL appears neither in the error nor in the locals of its traceback."""
    name = f"pass{os.getpid()}word"
    url = Secret(f"{scheme}://user:{name}@{rest}")
    hidden = Hidden(name)
    del name
    with patch.dict(os.environ, {"VBC_FUZZ_STORE": url}):
        for use in (
            lambda: VBCSession(CREDENTIALS, store=str(url)),
            lambda: RedisStore(str(url)),
            lambda: VBCSession.from_env("VBC_FUZZ_", credentials=CREDENTIALS),
        ):
            with pytest.raises(ConfigurationError) as caught:
                use()
            hidden.none_in(everything_about(caught.value))


_values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.dictionaries(st.sampled_from(["CLIENT_ACCOUNT_ID", "KEY_ID", "API_KEY", "BASE_URL", "STORE"]), _values))
def test_any_environment_is_a_session_or_refused(values: dict[str, str]) -> None:
    """Any environment gives a session, or a ConfigurationError that does not show the key."""
    environment = {f"VBC_FUZZ_{name}": value for name, value in values.items()}
    with patch.dict(os.environ, environment):
        try:
            VBCSession.from_env("VBC_FUZZ_")
        except ConfigurationError as error:
            key = values.get("API_KEY", "")
            assert len(key) < 6 or key not in str(error)


@pytest.mark.parametrize("prefix", ["", "=", "\0", "A\nB_", "é"])
def test_impossible_prefix(prefix: str) -> None:
    """A prefix that no environment variable can have raises an error that names what is missing."""
    with pytest.raises(ConfigurationError, match="not set"):
        VBCSession.from_env(prefix)


# What the server says


@pytest.mark.parametrize(
    "to",
    [
        "http://user:password@{own}/x",
        "http://{own}@{other}/x",
        "http://user:password@{other}/x",
        "//{other}/x",
        "\\\\{other}\\x",
        "http://{own}\\@{other}/x",
        "/\\{other}/x",
        "http://{own}#@{other}/x",
        "/%0d%0aX-Evil: 1",
        "javascript:alert(1)",
        "http://[",
        "",
    ],
)
@pytest.mark.parametrize("form", ["request", "middleware"])
async def test_hostile_location(vbc: VBCSession, wire: Relay, api: Origin, other: Origin, to: str, form: str) -> None:
    """Wherever a redirect leads, no other origin gets the token, and errors do not show it."""
    hidden = Hidden((await vbc.token()).value)
    location = to.format(own=f"127.0.0.1:{wire.port}", other=other.url.removeprefix("http://"))
    path = str(URL("/redirect").with_query(status=307, to=location))
    async with aiohttp.ClientSession(middlewares=(vbc.auth,)) as mine:
        get = vbc.get if form == "request" else mine.get
        try:
            async with get(wire.url + path) as response:
                await response.read()
        except (aiohttp.ClientError, ValueError) as error:
            hidden.none_in(everything_about(error))
    # aiohttp sends a user and password from the Location to that server; the token must not be sent.
    assert not any("Bearer" in (sent or "") for sent in other.authorizations)
    assert api.authorizations[0] == "Bearer token1"
    assert b"\r\nX-Evil" not in wire.seen
