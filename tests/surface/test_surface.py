"""Public names, errors, policy, credentials, settings, and the life of a session."""

from __future__ import annotations

import asyncio
import hashlib
import pickle
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib import metadata

import aiohttp
import attrs
import pytest

import truecaller_vbc
from truecaller_vbc import (
    AccessToken,
    APIError,
    ConfigurationError,
    Credentials,
    RateLimitedError,
    SessionClosedError,
    TokenError,
    TokenPolicy,
    VBCError,
    VBCSession,
)
from truecaller_vbc.token.clock import BootClock, SystemClock, system_clock

from ..requests.two_origins import CREDENTIALS, Origin

CONTRACT = set(
    """
    Credentials VBCSession AccessToken TokenPolicy TokenStatus TokenStore MemoryStore FileStore RedisStore VBCError
    ConfigurationError SessionClosedError StoreError TokenError CredentialsRejectedError MintQuotaExhaustedError
    TokenEndpointError APIError BadRequestError UnauthorizedError ForbiddenError NotFoundError RateLimitedError
    ServerError
    """.split()  # noqa: SIM905 - as the contract lists them
)
ERRORS = [
    kind
    for name in truecaller_vbc.__all__
    if isinstance(kind := getattr(truecaller_vbc, name), type) and issubclass(kind, Exception)
]


def test_public_names() -> None:
    """`__all__` is sorted, complete, and names only what exists."""
    assert CONTRACT <= set(truecaller_vbc.__all__)
    assert truecaller_vbc.__all__ == sorted(truecaller_vbc.__all__)
    assert all(hasattr(truecaller_vbc, name) for name in truecaller_vbc.__all__)


def test_version() -> None:
    """`__version__` is that of the installed distribution."""
    assert truecaller_vbc.__version__ == metadata.version("truecaller_vbc")


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_have_one_root_and_survive_pickling(kind: type[VBCError]) -> None:
    """Every error derives from VBCError, and keeps its data through pickling."""
    retry_at = datetime(2026, 1, 1, tzinfo=UTC)
    if issubclass(kind, TokenError):
        error: VBCError = kind("words", retry_at=retry_at)
    elif issubclass(kind, RateLimitedError):
        error = kind("words", status=429, slug="slug", message="message", field="field", retry_after=7.0)
    elif issubclass(kind, APIError):
        error = kind("words", status=400, slug="slug", message="message", field="field")
    else:
        error = kind("words")
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301

    assert issubclass(kind, VBCError)
    assert (type(twin), twin.args, vars(twin)) == (kind, error.args, vars(error))


def test_errors_have_the_builtin_parents() -> None:
    """Errors about settings are ValueErrors, and errors about closed sessions are RuntimeErrors."""
    assert issubclass(ConfigurationError, ValueError)
    assert issubclass(SessionClosedError, RuntimeError)


# The policy


def test_policy_defaults() -> None:
    """The policy has the documented defaults."""
    assert attrs.asdict(TokenPolicy()) == {
        "lifetime": timedelta(minutes=60),
        "refresh_ahead": timedelta(minutes=15),
        "refresh_jitter": timedelta(minutes=5),
        "expiry_margin": timedelta(seconds=10),
        "max_mints": 10,
        "mint_window": timedelta(minutes=30),
        "reserve_mints": 3,
        "mint_timeout": timedelta(seconds=15),
        "rejection_grace": timedelta(seconds=30),
        "error_memory": timedelta(seconds=60),
        "retry_first": timedelta(seconds=1),
        "retry_most": timedelta(seconds=60),
        "refresh_retry": timedelta(minutes=1),
        "close_grace": timedelta(seconds=2),
        "adoption_delay": timedelta(seconds=30),
    }


def test_policy_scaled() -> None:
    """Scaling shortens durations, keeps counts, and leaves at least two seconds for a mint."""
    policy = TokenPolicy().scaled(1 / 1200)

    assert policy.lifetime == timedelta(seconds=3)
    assert policy.mint_window == timedelta(seconds=1.5)
    assert policy.mint_timeout == timedelta(seconds=2)
    assert (policy.max_mints, policy.reserve_mints) == (10, 3)
    assert TokenPolicy().scaled(2).mint_timeout == timedelta(seconds=30)
    assert TokenPolicy(lifetime=7200).lifetime == timedelta(hours=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lifetime": timedelta(0)},
        {"lifetime": timedelta(seconds=-1)},
        {"lifetime": "an hour"},
        {"lifetime": True},
        {"lifetime": float("nan")},
        {"refresh_ahead": timedelta(hours=1)},
        {"refresh_jitter": timedelta(minutes=50)},
        {"refresh_jitter": timedelta(seconds=-1)},
        {"expiry_margin": timedelta(minutes=15)},
        {"max_mints": 0},
        {"max_mints": 2.5},
        {"max_mints": True},
        {"reserve_mints": 10},
        {"reserve_mints": -1},
        {"retry_first": timedelta(minutes=2)},
    ],
)
def test_policy_that_contradicts_itself(wrong: dict[str, object]) -> None:
    """A policy whose values contradict each other raises an error that names them."""
    with pytest.raises(ConfigurationError, match="TokenPolicy"):
        TokenPolicy(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0, -1, float("inf"), float("nan"), "2", True, None])
def test_policy_scaled_by_nonsense(factor: object) -> None:
    """Only a positive finite number scales a policy."""
    with pytest.raises(ConfigurationError, match="scaled"):
        TokenPolicy().scaled(factor)  # type: ignore[arg-type]


# Credentials


@pytest.mark.parametrize("field", ["client_account_id", "key_id", "api_key"])
@pytest.mark.parametrize("value", ["", "  ", "a b", "a\n", "a\x00b", "a\x7fb", None, 7, b"bytes"])
def test_invalid_credentials(field: str, value: object) -> None:
    """Invalid credentials raise an error that names the field, and never shows the API key."""
    values = {"client_account_id": "account", "key_id": "key", "api_key": "the-secret", field: value}
    with pytest.raises(ConfigurationError, match=field) as caught:
        Credentials(**values)  # type: ignore[arg-type]
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "account", ["../x", "a/b", "a%2fb", ".", "..", "a?b", "a#b", "a;b", "a\\b", "-a", "ä", "a:b", "@", "a.b"]
)
def test_account_id_that_would_change_the_path(account: str) -> None:
    """An account ID may contain only letters, digits, - and _, since it becomes a part of the URL."""
    with pytest.raises(ConfigurationError, match="client_account_id"):
        Credentials(account, "key", "secret")


@pytest.mark.parametrize("account", ["a", "7", "A-z_0", "0ca10281-11a0-4f86-bb27-7452da543cb6", "a--", "a__"])
def test_account_id_that_is_allowed(account: str) -> None:
    """A UUID and other simple IDs are allowed."""
    assert Credentials(account, "key", "secret").client_account_id == account


def test_credentials_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials are read from three variables, with any prefix; the error names all that are missing."""
    monkeypatch.setenv("X_KEY_ID", " key\n")
    with pytest.raises(ConfigurationError) as caught:
        Credentials.from_env("X_")
    assert "X_CLIENT_ACCOUNT_ID and X_API_KEY not set" in str(caught.value)
    monkeypatch.setenv("X_CLIENT_ACCOUNT_ID", "account")
    monkeypatch.setenv("X_API_KEY", "secret")
    assert Credentials.from_env("X_") == CREDENTIALS
    assert hash(Credentials.from_env("X_")) == hash(CREDENTIALS)
    for name, value in attrs.asdict(CREDENTIALS).items():
        monkeypatch.setenv(f"TRUECALLER_VBC_{name.upper()}", value)
    assert Credentials.from_env() == CREDENTIALS
    assert VBCSession.from_env().client_account_id == CREDENTIALS.client_account_id


# Settings


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vbc.example",
        "https://",
        "https://vbc.example/api",
        "https://vbc.example/?a=1",
        "https://vbc.example#x",
        "https://user@vbc.example",
        "https://user:the-secret@vbc.example",
        "http://vbc.example",
        "ftp://vbc.example",
        "https://[bad",
        "https://vbc.example:port",
        None,
        7,
    ],
)
def test_invalid_base_url(url: object) -> None:
    """An invalid base URL raises an error at construction that names the setting."""
    with pytest.raises(ConfigurationError, match="base_url=") as caught:
        VBCSession(CREDENTIALS, base_url=url)  # type: ignore[arg-type]
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"credentials": None},
        {"credentials": "account"},
        {"policy": 7},
        {"http": "session"},
        {"on_event": 7},
        {"store": 7},
        {"store": "redis"},
        {"store": "postgres://user:the-secret@host"},
    ],
)
def test_settings_of_the_wrong_type(wrong: dict[str, object]) -> None:
    """A setting of the wrong type raises an error at construction that names the setting."""
    options = {"credentials": CREDENTIALS, **wrong}
    with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))}=") as caught:
        VBCSession(options.pop("credentials"), **options)  # type: ignore[arg-type]
    assert "the-secret" not in str(caught.value)


async def test_http_session_that_is_refused(api: Origin) -> None:
    """A session of the user that is closed, or that sends its own credentials, is refused."""
    async with aiohttp.ClientSession() as http:
        pass
    with pytest.raises(ConfigurationError, match="http="):
        async with VBCSession(CREDENTIALS, base_url=api.url, http=http):
            pass
    with pytest.warns(DeprecationWarning, match="auth"):
        http = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "password"))
    with pytest.raises(ConfigurationError, match="auth="):
        VBCSession(CREDENTIALS, base_url=api.url, http=http)
    await http.close()


async def test_session_from_env(monkeypatch: pytest.MonkeyPatch, api: Origin) -> None:
    """`from_env` reads credentials, base URL and store; arguments override the environment."""
    for name, value in {
        "CLIENT_ACCOUNT_ID": "account",
        "KEY_ID": "key",
        "API_KEY": "secret",
        "BASE_URL": "https://other.example",
        "STORE": "memory://",
    }.items():
        monkeypatch.setenv(f"X_{name}", value)
    assert str(VBCSession.from_env("X_").base_url) == "https://other.example"
    monkeypatch.delenv("X_STORE")
    async with VBCSession.from_env("X_", base_url=api.url, credentials=CREDENTIALS) as vbc:
        await vbc.warm_up()
    assert api.mints == 1
    monkeypatch.setenv("X_STORE", "nonsense")
    with pytest.raises(ConfigurationError, match="store="):
        VBCSession.from_env("X_")


# The life of a session


async def test_session_before_entering_and_after_closing(api: Origin) -> None:
    """A session that is not entered, closed, or entered again raises an error that says what to do."""
    vbc = VBCSession(CREDENTIALS, base_url=api.url)
    assert "new" in repr(vbc)
    for use in (vbc.token, vbc.warm_up, lambda: vbc.get("/x")):
        with pytest.raises(SessionClosedError, match="async with"):
            await use()
    assert (vbc.current_token, vbc.status().state, vbc.client_account_id) == (None, "empty", "account")

    async with vbc:
        with pytest.raises(SessionClosedError, match="open already"):
            await vbc.__aenter__()
        await vbc.token()
    await vbc.close()
    for use in (vbc.token, lambda: vbc.get("/x")):
        with pytest.raises(SessionClosedError, match="closed"):
            await use()
    assert vbc.current_token is None
    with pytest.raises(SessionClosedError, match="closed"):
        await vbc.__aenter__()
    assert api.mints == 1
    naive = AccessToken("secret-value", datetime.now(UTC), datetime(2026, 1, 1))  # noqa: DTZ001
    assert repr(naive) == "<AccessToken>"


async def test_close_before_entering() -> None:
    """A session that was never entered can be closed, and stays closed."""
    vbc = VBCSession(CREDENTIALS)
    await vbc.close()
    with pytest.raises(SessionClosedError, match="closed"):
        await vbc.__aenter__()


async def test_loop_ends_after_close() -> None:
    """Closing a session by hand cancels the clean-up at the end of the loop."""
    vbc = await VBCSession(CREDENTIALS, base_url="http://127.0.0.1:9").__aenter__()
    guard = vbc._guard
    assert guard is not None
    await vbc.close()
    await guard.aclose()
    assert "closed" in repr(vbc)


async def test_loop_that_does_not_show_its_thread(api: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a loop that does not show its thread, such as uvloop's, the thread is remembered."""
    monkeypatch.setattr("truecaller_vbc.session.hasattr", lambda *_: False, raising=False)
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        assert len({id(await vbc.token()) for _ in range(3)}) == 1


async def test_concurrent_and_cancelled_close(api: Origin) -> None:
    """Several tasks may close a session at once, and cancelling one of them leaves nothing open."""
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        await vbc.token()
        closing = asyncio.create_task(vbc.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, vbc.close(), return_exceptions=True)
        assert "closed" in repr(vbc)
    assert [task.get_name() for task in asyncio.all_tasks() if "truecaller" in task.get_name()] == []


async def test_close_in_mid_mint(api: Origin) -> None:
    """Closing fails the waiting callers with `SessionClosedError`."""
    api.fail_token = 503
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        waiters = [asyncio.create_task(vbc.token()) for _ in range(3)]
        await asyncio.sleep(0)
        await vbc.close()
        results = await asyncio.gather(*waiters, return_exceptions=True)
    assert [SessionClosedError] * 3 == [type(result) for result in results]


async def test_other_event_loops(api: Origin) -> None:
    """Use from another loop in another thread raises an error, also while the token is fresh."""
    async with VBCSession(CREDENTIALS, base_url=api.url) as vbc:
        await vbc.token()
        for use in (vbc.token, lambda: vbc.get("/x"), vbc.close):

            def elsewhere(use: object = use) -> None:
                asyncio.run(_awaited(use))

            with pytest.raises(SessionClosedError, match="event loop"):
                await asyncio.to_thread(elsewhere)
        assert vbc.current_token is not None
        assert await asyncio.to_thread(lambda: vbc.current_token) is vbc.current_token
        assert await vbc.token() is vbc.current_token


async def _awaited(use: object) -> object:
    return await use()  # type: ignore[operator]


def test_two_loops_one_after_the_other() -> None:
    """A session ends with its loop: it can be used on no later loop."""
    vbc = VBCSession(CREDENTIALS, base_url="http://127.0.0.1:9")
    asyncio.run(vbc.__aenter__())
    with pytest.raises(SessionClosedError, match="closed"):
        asyncio.run(vbc.token())

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    vbc = VBCSession(CREDENTIALS, base_url="http://127.0.0.1:9")
    first.run_until_complete(vbc.__aenter__())
    with pytest.raises(SessionClosedError, match="another event loop"):
        second.run_until_complete(vbc.token())
    first.run_until_complete(vbc.close())
    for loop in (first, second):
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


ABANDONED = """
import asyncio, gc
from truecaller_vbc import VBCSession
from truecaller_vbc.sandbox import Sandbox

async def main():
    async with Sandbox() as sandbox:
        vbc = await VBCSession(sandbox.credentials, base_url=sandbox.base_url).__aenter__()
        async with vbc.get(f"/clients/{vbc.client_account_id}/labels") as response:
            assert response.status == 200
        asyncio.create_task(asyncio.sleep(60))
        return vbc

kept = asyncio.run(main())
print(kept)
del kept
gc.collect()
"""
RAW_LOOP = """
import asyncio, gc, warnings
from truecaller_vbc import VBCSession
from truecaller_vbc.sandbox import Sandbox

async def main():
    async with Sandbox() as sandbox:
        import aiohttp
        async with aiohttp.ClientSession() as http:
            vbc = await VBCSession(sandbox.credentials, base_url=sandbox.base_url, http=http).__aenter__()
            await vbc.token()

loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
del loop
gc.collect()
print("closed")
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", [ABANDONED, RAW_LOOP])
def test_loop_that_ends_without_close(script: str) -> None:
    """An abandoned session leaves no pending task, no open socket and no warning when its loop ends."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", script], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "closed" in done.stdout


# Small things


def test_repr_of_a_token() -> None:
    """The repr of a token shows fingerprint and remaining time, and says when it has expired."""
    now = datetime.now(UTC)
    token = AccessToken("secret-value", now, now + timedelta(minutes=44, seconds=10, milliseconds=500))

    assert repr(token) == str(token) == f"{token}" == f"<AccessToken {token.fingerprint} 44:10 left>"
    assert token.authorization == "Bearer secret-value"
    assert token.fingerprint == hashlib.sha256(b"secret-value").hexdigest()[:8]
    assert "expired" in repr(AccessToken("secret-value", now, now))
    assert token == AccessToken("secret-value", now, token.expires_at)
    assert "secret-value" not in repr([token.value, token.authorization])


def test_import_of_the_session_is_light() -> None:
    """Importing the session imports no store driver, no command line, no sandbox and no pytest."""
    code = "import sys; from truecaller_vbc import VBCSession; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    heavy = {"cattrs", "typer", "rich", "redis", "filelock", "aiohttp.web", "truecaller_vbc.sandbox", "pytest"}
    assert heavy.isdisjoint(modules)


def test_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock follows the boot clock, or without it the monotonic or the wall clock, whichever moved further."""
    assert isinstance(system_clock(), BootClock)
    boot = BootClock()
    assert 0 <= boot.now() - boot.now() + 1 <= 1.1
    assert abs(boot.wall() - datetime.now(UTC).timestamp()) < 5

    asked: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr("time.clock_gettime", asked.append)
        BootClock().now()
    assert asked == [time.CLOCK_BOOTTIME]

    mono, wall = [100.0], [5000.0]
    monkeypatch.setattr("time.monotonic", lambda: mono[0])
    monkeypatch.setattr("time.time", lambda: wall[0])
    clock = SystemClock()
    start = clock.now()
    mono[0] += 10
    wall[0] += 3600  # the machine slept, or the wall clock was set forward: tokens get older
    assert clock.now() - start == 3600
    mono[0] += 10
    wall[0] -= 7200  # the wall clock was set back: monotonic time goes on
    assert clock.now() - start == 3610
    assert clock.wall() == wall[0]
    monkeypatch.delattr("time.CLOCK_BOOTTIME")
    assert isinstance(system_clock(), SystemClock)
