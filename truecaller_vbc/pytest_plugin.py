"""Provide pytest fixtures: a sandbox in place of Truecaller, and a session that uses it.

Installed with the library; they run on pytest-asyncio (in either mode) or, without it, on anyio::

    async def test_labels(vbc_session):
        async with vbc_session.get(f"/clients/{vbc_session.client_account_id}/labels") as response:
            assert response.status == 200

    async def test_outage(vbc_sandbox, vbc_session):
        vbc_sandbox.fail_next("token", status=503)
        with pytest.raises(TokenEndpointError):
            await vbc_session.token()

Override `vbc_sandbox_rules` or `vbc_policy` for other rules or numbers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from truecaller_vbc import TokenPolicy, VBCSession
    from truecaller_vbc.sandbox import Sandbox, SandboxRules

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
