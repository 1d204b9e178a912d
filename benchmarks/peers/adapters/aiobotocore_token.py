"""aiobotocore's bearer token, the one behind its SSO login.

Source: ``aiobotocore/tokens.py`` of the release, `AioDeferredRefreshableToken`: windows of 15 minutes (advisory) and 10
(mandatory), and at most one refresh a minute as long as a token is held. None of the three can be set.

It has no answer to a 401, to a failure that is to be shared, to cancellation, or to a second process.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiobotocore.tokens import AioDeferredRefreshableToken
from botocore.tokens import FrozenAuthToken

from ..peer import Peer


class Adapter(Peer):
    packages = ("aiobotocore", "botocore")
    imports = "aiobotocore.tokens"
    window = 900.0
    fixed = "fixed at 15 min"

    async def open(self) -> None:
        self._token = AioDeferredRefreshableToken("custom", self._refresh)

    async def _refresh(self) -> FrozenAuthToken:
        expiry = datetime.now(UTC) + timedelta(seconds=self.wire.lifetime)
        return FrozenAuthToken(await self.wire.mint(self.http), expiration=expiry)

    async def authorization(self) -> str:
        return f"Bearer {(await self._token.get_frozen_token()).token}"
