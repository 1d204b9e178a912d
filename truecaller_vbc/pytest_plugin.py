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

Override `vbc_sandbox_rules` or `vbc_policy` for other rules or numbers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from truecaller_vbc import TokenPolicy, VBCSession
    from truecaller_vbc.sandbox import Sandbox, SandboxRules
    from truecaller_vbc.webhooks import Receiver

try:
    from pytest_asyncio import fixture as async_fixture
except ImportError:
    async_fixture = pytest.fixture  # type: ignore[assignment]


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


@async_fixture
async def vbc_sandbox(vbc_sandbox_rules: SandboxRules) -> AsyncIterator[Sandbox]:
    """Run a `truecaller_vbc.sandbox.Sandbox` on loopback, a new one for each test."""
    from truecaller_vbc.sandbox import Sandbox  # noqa: PLC0415

    async with Sandbox(vbc_sandbox_rules) as sandbox:
        yield sandbox


@async_fixture
async def vbc_session(vbc_sandbox: Sandbox, vbc_policy: TokenPolicy) -> AsyncIterator[VBCSession]:
    """Open a `VBCSession` that uses `vbc_sandbox`."""
    from truecaller_vbc import VBCSession  # noqa: PLC0415

    async with VBCSession(vbc_sandbox.credentials, base_url=vbc_sandbox.base_url, policy=vbc_policy) as session:
        yield session


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
