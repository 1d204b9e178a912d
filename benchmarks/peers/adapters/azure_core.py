"""azure-core's `AsyncBearerTokenCredentialPolicy` with an `AsyncTokenCredential` of ours, in its usual pipeline.

Source: ``azure/core/pipeline/policies/_authentication_async.py`` of the release, and the protocol in
``azure/core/credentials_async.py``: a custom token source is an object with `get_token_info`. The policy caches its
token and refreshes it 5 minutes before the end, less 0 to 60 s drawn for each token. azure-identity's own caching
(`GetTokenMixin`) is internal to its credentials, which speak to Entra alone, so it cannot stand here.

It drops its token on any 401. It has no answer to a failure that is to be shared, to cancellation, or, in azure-core,
to a second process. ``enforce_https=False`` is needed for loopback.
"""

from __future__ import annotations

import time
from typing import Any

from azure.core import AsyncPipelineClient
from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline import PipelineContext, PipelineRequest, policies
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest

from ..peer import Peer


class Adapter(Peer):
    packages = ("azure-core",)
    imports = "azure.core.pipeline.policies, aiohttp"
    window = 300.0
    fixed = "fixed at 5 min, less up to 1"

    async def open(self) -> None:
        self._policy = policies.AsyncBearerTokenCredentialPolicy(self, "default")
        before = [policies.HeadersPolicy(), policies.AsyncRedirectPolicy(), policies.AsyncRetryPolicy()]
        self._client = AsyncPipelineClient(
            self.wire.base_url,
            policies=[*before, self._policy, policies.SensitiveHeaderCleanupPolicy()],
            transport=AioHttpTransport(session=self.http, session_owner=False),
        )

    async def get_token_info(self, *_: str, options: object = None) -> AccessTokenInfo:  # noqa: ARG002
        requested_at = time.time()
        try:
            return AccessTokenInfo(await self.wire.mint(self.http), int(requested_at + self.wire.lifetime))
        except Exception as error:
            raise ClientAuthenticationError(str(error)) from error

    async def authorization(self) -> str:
        request = HttpRequest("GET", self.wire.base_url)
        await self._policy.on_request(PipelineRequest(request, PipelineContext(None, enforce_https=False)))
        return str(request.headers["Authorization"])

    async def post(self, url: str, json: Any) -> int:
        response = await self._client.send_request(HttpRequest("POST", url, json=json), enforce_https=False)
        return int(response.status_code)
