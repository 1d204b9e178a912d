"""Fixtures for the snippets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from truecaller_vbc import VBCSession
from truecaller_vbc.sandbox import Sandbox


@pytest.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """A sandbox to which the environment and the default base URL point."""
    async with Sandbox() as sandbox:
        monkeypatch.setenv("TRUECALLER_VBC_CLIENT_ACCOUNT_ID", sandbox.credentials.client_account_id)
        monkeypatch.setenv("TRUECALLER_VBC_KEY_ID", sandbox.credentials.key_id)
        monkeypatch.setenv("TRUECALLER_VBC_API_KEY", str(sandbox.credentials.api_key))
        defaults = VBCSession.__init__.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "base_url", sandbox.base_url)
        yield sandbox
