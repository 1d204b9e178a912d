"""aiobotocore's refreshable credentials, which is how a custom source of AWS credentials is written.

Source: ``aiobotocore/credentials.py`` of the release. `AioDeferredRefreshableCredentials` mints at first use, with its
windows of 15 minutes (advisory: one refreshes, the others go on) and 10 (mandatory: all wait). Only
`create_from_metadata` takes other windows, and with a first token, so that is used where time is scaled.

The bearer token stands in for the session token. It has no answer to a 401, to a failure that is to be shared, to
cancellation, or to a second process.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from aiobotocore.credentials import AioDeferredRefreshableCredentials, AioRefreshableCredentials

from ..peer import Peer

MANDATORY = 600.0


class Adapter(Peer):
    packages = ("aiobotocore", "botocore")
    imports = "aiobotocore.credentials"
    window = 900.0

    async def open(self) -> None:
        self._credentials: Any = None
        if self.wire.scale == 1:
            self._credentials = AioDeferredRefreshableCredentials(self._metadata, "custom")

    async def _metadata(self) -> dict[str, str]:
        expiry = datetime.now(UTC) + timedelta(seconds=self.wire.lifetime)
        token = await self.wire.mint(self.http)
        return {"access_key": "-", "secret_key": "-", "token": token, "expiry_time": expiry.isoformat()}

    async def authorization(self) -> str:
        if self._credentials is None:
            self._credentials = AioRefreshableCredentials.create_from_metadata(
                await self._metadata(),
                refresh_using=self._metadata,
                method="custom",
                advisory_timeout=self.ahead,
                mandatory_timeout=MANDATORY * self.wire.scale,
            )
        return f"Bearer {(await self._credentials.get_frozen_credentials()).token}"
