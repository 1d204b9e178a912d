"""Provide pytest fixtures: a sandbox in place of Truecaller, and a session that uses it.

Installed with the library; they run on pytest-asyncio (in either mode) or, without it, on anyio::

    async def test_labels(vbc_session):
        async with vbc_session.get(f"/clients/{vbc_session.client_account_id}/labels") as response:
            assert response.status == 200

    async def test_outage(vbc_sandbox, vbc_session):
        vbc_sandbox.fail_next("token", status=503)
        with pytest.raises(TokenEndpointError):
            await vbc_session.token()

    async def test_my_receiver(vbc_webhooks):
        assert set((await vbc_webhooks(my_receiver, key="…")).values()) == {200}

They are on the loop of the test, whatever its ``loop_scope``. Beside anyio's tests pytest-asyncio must be in strict
mode: its auto mode takes all async fixtures for itself.

Override `vbc_sandbox_rules` or `vbc_policy` for other rules or numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from truecaller_vbc import TokenPolicy, VBCSession
    from truecaller_vbc.sandbox import Sandbox, SandboxRules
    from truecaller_vbc.webhooks import Receiver

async_fixture: Any = None
with contextlib.suppress(ImportError):
    from pytest_asyncio import fixture as async_fixture

_LOOPS: Final = ("function", "class", "module", "package", "session") if async_fixture else ("function",)


@pytest.fixture
def vbc_sandbox_rules() -> SandboxRules:
    """Return the rules of `vbc_sandbox`: the documented ones. Override this fixture to change them."""
    from truecaller_vbc.sandbox import SandboxRules  # noqa: PLC0415 - pytest loads this plugin in every test run

    return SandboxRules()


@pytest.fixture
def vbc_policy() -> TokenPolicy:
    """Return the policy of `vbc_session`: the default one. Override this fixture to change it."""
    from truecaller_vbc import TokenPolicy  # noqa: PLC0415

    return TokenPolicy()


@pytest.fixture
def vbc_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Return a running `truecaller_vbc.sandbox.Sandbox` on loopback, a new one for each test, on the test's loop."""
    return request.getfixturevalue(f"_vbc_sandbox_on_{_loop_of(request)}_loop")  # type: ignore[no-any-return]


@pytest.fixture
def vbc_session(request: pytest.FixtureRequest) -> VBCSession:
    """Return a `VBCSession` that uses `vbc_sandbox`, open on the test's loop."""
    return request.getfixturevalue(f"_vbc_session_on_{_loop_of(request)}_loop")  # type: ignore[no-any-return]


@pytest.fixture
def vbc_webhooks() -> Callable[[Receiver, str], Awaitable[dict[str, int | None]]]:
    """Return a coroutine function that sends every variant of a webhook to a receiver, and returns the statuses.

    ``await vbc_webhooks(receiver, key)`` serves the receiver by aiohttp.web, and has the variants of
    `truecaller_vbc.sandbox.webhook_variants` by name, each sent twice; the status is that of the last answer.
    """

    async def send_all(receiver: Receiver, key: str) -> dict[str, int | None]:
        from aiohttp import test_utils, web  # noqa: PLC0415

        from truecaller_vbc.sandbox import WebhookRules, send_webhooks, webhook_variants  # noqa: PLC0415

        app = web.Application()
        app.router.add_post("/", receiver.aiohttp)
        variants, rules = webhook_variants(), WebhookRules(retries=(), duplicates=1)
        async with test_utils.TestServer(app) as server:
            url = str(server.make_url("/").with_query(key=key))
            deliveries = await send_webhooks(url, variants.values(), rules)
        return {name: delivery.statuses[-1] for name, delivery in zip(variants, deliveries, strict=True)}

    return send_all


def _loop_of(request: pytest.FixtureRequest) -> str:
    """Return the scope of the event loop that the test runs on."""
    if request.node.get_closest_marker("anyio") and request.getfixturevalue("anyio_backend_name") == "trio":
        pytest.skip("truecaller_vbc needs asyncio")
    if async_fixture is None:
        return "function"
    if "anyio_backend" in request.fixturenames:
        if request.config.getoption("asyncio_mode", None) == "auto" or request.config.getini("asyncio_mode") == "auto":
            pytest.fail("pytest-asyncio's auto mode takes the fixtures of anyio's tests: set asyncio_mode = strict")
        return "function"
    marker = request.node.get_closest_marker("asyncio")
    given = marker.kwargs.get("loop_scope") if marker else None
    return given or request.config.getini("asyncio_default_test_loop_scope") or "function"


def _fixtures(scope: str) -> tuple[Any, Any]:
    """Return the two async fixtures for tests whose loop has this scope: a fixture has one loop for good."""

    async def sandbox(vbc_sandbox_rules: SandboxRules) -> AsyncIterator[Sandbox]:
        from truecaller_vbc.sandbox import Sandbox  # noqa: PLC0415

        async with Sandbox(vbc_sandbox_rules) as running:
            yield running

    async def session(vbc_sandbox: Sandbox, vbc_policy: TokenPolicy) -> AsyncIterator[VBCSession]:
        from truecaller_vbc import VBCSession  # noqa: PLC0415

        async with VBCSession(vbc_sandbox.credentials, base_url=vbc_sandbox.base_url, policy=vbc_policy) as vbc:
            yield vbc

    names = [f"_vbc_sandbox_on_{scope}_loop", f"_vbc_session_on_{scope}_loop"]
    if async_fixture is None:
        return pytest.fixture(name=names[0])(sandbox), pytest.fixture(name=names[1])(session)
    return (
        async_fixture(name=names[0], loop_scope=scope)(sandbox),
        async_fixture(name=names[1], loop_scope=scope)(session),
    )


for _scope in _LOOPS:
    globals()[f"_sandbox_{_scope}"], globals()[f"_session_{_scope}"] = _fixtures(_scope)
