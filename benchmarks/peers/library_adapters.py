"""Adapt other libraries, those of ``benchmarks/requirements.txt``, each through its own public API."""

from __future__ import annotations

import io
import json as jsonlib
import math
import ssl
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx2
from aiobotocore.credentials import AioDeferredRefreshableCredentials, AioRefreshableCredentials
from aiobotocore.tokens import AioDeferredRefreshableToken
from authlib.integrations.httpx_client import AsyncOAuth2Client
from azure.core import AsyncPipelineClient
from azure.core.credentials import AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline import PipelineContext, PipelineRequest, policies
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest
from botocore.tokens import FrozenAuthToken
from gcloud.aio.auth.token import BaseToken, TokenResponse
from google.auth.aio import transport
from google.auth.aio.transport.aiohttp import Request
from google.auth.aio.transport.sessions import AsyncAuthorizedSession
from google.auth.credentials import Credentials
from google.auth.exceptions import RefreshError

from .peer import Peer, Target

MANDATORY_WINDOW = 600.0
_TLS = ssl.create_default_context()  # shared, since creating one takes each client 20 ms


class GcloudToken(BaseToken):  # type: ignore[misc]
    """A `BaseToken` that mints from the target."""

    target: Target

    async def refresh(self, *, timeout: int) -> TokenResponse:
        value = await self.target.mint(self.session.session, timeout)
        return TokenResponse(value=value, expires_in=math.floor(self.target.lifetime))


class GcloudAioAuth(Peer):
    """A `BaseToken` of gcloud-aio-auth with its own `refresh`, the one abstract method.

    Source: ``gcloud/aio/auth/token.py`` of the release. It refreshes in the background after half of the lifetime and
    makes callers wait after 95 %; both are arguments. It counts in whole seconds. `acquire_access_token` tries 5 times,
    with random exponential waits. ``service_file`` keeps it from looking for credentials of the machine.

    It cannot handle a 401, a second process or a restart.
    """

    packages = ("gcloud-aio-auth",)
    imports = "import gcloud.aio.auth"
    window = 1800.0

    async def open(self) -> None:
        self._token = GcloudToken(
            service_file=io.StringIO('{"type": "gce_metadata"}'),
            session=self.http,
            background_refresh_after=max(0.0001, 1 - self.scaled_window / self.target.lifetime),
        )
        self._token.target = self.target

    async def close(self) -> None:
        await self._token.close()

    async def authorization(self) -> str:
        return f"Bearer {await self._token.get()}"


class AiobotocoreCredentials(Peer):
    """aiobotocore's refreshable credentials, the way to write a custom source of AWS credentials.

    Source: ``aiobotocore/credentials.py`` of the release. `AioDeferredRefreshableCredentials` mints at first use, with
    windows of 15 minutes (advisory: one caller refreshes, the others go on) and 10 (mandatory: all wait). Only
    `create_from_metadata` takes other windows, and needs a first token, so it is used where time is scaled.

    The bearer token takes the place of the session token. It cannot handle a 401, share a failure, survive cancellation
    or work with a second process.
    """

    packages = ("aiobotocore", "botocore")
    imports = "import aiobotocore.credentials"
    window = 900.0

    async def open(self) -> None:
        self._credentials: Any = None
        if self.target.scale == 1:
            self._credentials = AioDeferredRefreshableCredentials(self._metadata, "custom")

    async def _metadata(self) -> dict[str, str]:
        expiry = datetime.now(UTC) + timedelta(seconds=self.target.lifetime)
        token = await self.target.mint(self.http)
        return {"access_key": "-", "secret_key": "-", "token": token, "expiry_time": expiry.isoformat()}

    async def authorization(self) -> str:
        if self._credentials is None:
            self._credentials = AioRefreshableCredentials.create_from_metadata(
                await self._metadata(),
                refresh_using=self._metadata,
                method="custom",
                advisory_timeout=self.scaled_window,
                mandatory_timeout=MANDATORY_WINDOW * self.target.scale,
            )
        return f"Bearer {(await self._credentials.get_frozen_credentials()).token}"


class AiobotocoreToken(Peer):
    """aiobotocore's bearer token, which its SSO login uses.

    Source: ``aiobotocore/tokens.py`` of the release, `AioDeferredRefreshableToken`: windows of 15 minutes (advisory)
    and 10 (mandatory), and at most one refresh per minute while a token is held. None of the three can be set.

    It cannot handle a 401, share a failure, survive cancellation or work with a second process.
    """

    packages = ("aiobotocore", "botocore")
    imports = "import aiobotocore.tokens"
    window = 900.0
    fixed = "fixed at 15 min"

    async def open(self) -> None:
        self._token = AioDeferredRefreshableToken("custom", self._refresh)

    async def _refresh(self) -> FrozenAuthToken:
        expiry = datetime.now(UTC) + timedelta(seconds=self.target.lifetime)
        return FrozenAuthToken(await self.target.mint(self.http), expiration=expiry)

    async def authorization(self) -> str:
        return f"Bearer {(await self._token.get_frozen_token()).token}"


class GoogleCredentials(Credentials):  # type: ignore[misc]
    """Synchronous google-auth credentials that mint from the target."""

    def refresh(self, request: Any) -> None:
        self.target.attempts += 1
        expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=self.target.lifetime)
        response = request(self.target.token_url, "POST", *self.target.encoded_request)
        if response.status != 200:
            raise RefreshError(f"{response.status}")
        self.token, self.expiry = jsonlib.loads(response.data)["token"], expiry


class HeaderRecorder(transport.Request):  # type: ignore[misc]
    """A transport that keeps the Authorization header and sends nothing."""

    async def __call__(self, _: str, __: str, ___: object, headers: dict[str, str], *_____: object) -> Any:
        self.header = headers["authorization"]
        return SimpleNamespace(status_code=200)


class GoogleAuthAio(Peer):
    """google-auth's `AsyncAuthorizedSession` with credentials of our own.

    Source: ``google/auth/aio/transport/sessions.py`` and ``google/auth/credentials.py`` of the release. Its
    asynchronous credentials have no expiry and refresh nothing. The session also takes synchronous ones: it shares one
    refresh among all callers, shields it, and runs it in a thread. That is its best offer, so it is used here. A token
    is refreshed 3 min 45 s before its end. It cannot handle a second process or a restart.
    """

    packages = ("google-auth",)
    imports = "import google.auth.aio.transport.sessions"
    window, fixed = 225.0, "fixed at 3.75 min"

    async def open(self) -> None:
        credentials, self._recorder = GoogleCredentials(), HeaderRecorder()
        credentials.target = self.target
        self._session = AsyncAuthorizedSession(credentials, auth_request=Request(session=self.http))
        self._recording_session = AsyncAuthorizedSession(credentials, auth_request=self._recorder)

    async def authorization(self) -> str:
        await self._recording_session.request("GET", self.target.base_url)
        return str(self._recorder.header)

    async def post(self, url: str, json: Any) -> int:
        headers = self.target.encoded_request[1]
        response = await self._session.request("POST", url, jsonlib.dumps(json).encode(), headers)
        await response.read()
        return int(response.status_code)


class AzureCore(Peer):
    """azure-core's `AsyncBearerTokenCredentialPolicy` with a custom `AsyncTokenCredential`, in its usual pipeline.

    Source: ``azure/core/pipeline/policies/_authentication_async.py`` of the release, and the protocol in
    ``azure/core/credentials_async.py``: a custom token source is an object with `get_token_info`. The policy caches its
    token and refreshes it 5 minutes before the end, less 0 to 60 s drawn for each token. azure-identity's own caching
    (`GetTokenMixin`) is internal to its credentials, which only speak to Entra, so it cannot be used here.

    It drops its token on any 401. It cannot share a failure, survive cancellation or, in azure-core, work with a second
    process. ``enforce_https=False`` is needed for loopback.
    """

    packages = ("azure-core",)
    imports = "import azure.core.pipeline.policies, aiohttp"
    window = 300.0
    fixed = "fixed at 5 min, less up to 1"

    async def open(self) -> None:
        self._policy = policies.AsyncBearerTokenCredentialPolicy(self, "default")
        before = [policies.HeadersPolicy(), policies.AsyncRedirectPolicy(), policies.AsyncRetryPolicy()]
        self._client = AsyncPipelineClient(
            self.target.base_url,
            policies=[*before, self._policy, policies.SensitiveHeaderCleanupPolicy()],
            transport=AioHttpTransport(session=self.http, session_owner=False),
        )

    async def get_token_info(self, *_: str, options: object = None) -> AccessTokenInfo:  # noqa: ARG002
        requested_at = time.time()
        try:
            return AccessTokenInfo(await self.target.mint(self.http), int(requested_at + self.target.lifetime))
        except Exception as error:
            raise ClientAuthenticationError(str(error)) from error

    async def authorization(self) -> str:
        request = HttpRequest("GET", self.target.base_url)
        await self._policy.on_request(PipelineRequest(request, PipelineContext(None, enforce_https=False)))
        return str(request.headers["Authorization"])

    async def post(self, url: str, json: Any) -> int:
        response = await self._client.send_request(HttpRequest("POST", url, json=json), enforce_https=False)
        return int(response.status_code)


class AuthlibHttpx(Peer):
    """Authlib's `AsyncOAuth2Client` on httpx2, which it names in the place of httpx.

    Source: Authlib documentation, "OAuth 2 Session", "Auto update token" and "Compliance Fix for non Standard": the
    token call is adapted with `register_client_auth_method` and the hook ``access_token_response``. A token is
    refreshed ``leeway`` (60 s) before its end, under a lock that every request takes. It always starts with a token
    (`fetch_token` comes first), so it starts with an expired one here. It cannot handle a 401, a failing token
    endpoint, cancellation or a restart (but for the hook `update_token`), and follows redirects only if told so, as
    here.
    """

    packages = ("Authlib", "httpx2")
    imports = "import authlib.integrations.httpx_client"
    window = 60.0

    async def open(self) -> None:
        self._client = AsyncOAuth2Client(
            token_endpoint=self.target.token_url,
            token_endpoint_auth_method="vbc",  # noqa: S106
            grant_type="client_credentials",
            token={"access_token": "expired", "expires_at": 1},
            leeway=self.scaled_window,
            verify=_TLS,
            follow_redirects=True,
        )
        self._client.register_client_auth_method(("vbc", self._sign))
        self._client.register_compliance_hook("access_token_response", self._as_oauth)

    def _sign(self, _: object, __: str, url: str, headers: Any, ___: object) -> tuple[str, Any, bytes]:
        self.target.attempts += 1
        body, token_headers = self.target.encoded_request
        headers.update(token_headers)
        return url, headers, body

    def _as_oauth(self, response: Any) -> Any:
        response.raise_for_status()
        token = response.json()["token"]
        return httpx2.Response(200, json={"access_token": token, "expires_in": int(self.target.lifetime)})

    async def close(self) -> None:
        await self._client.aclose()

    async def authorization(self) -> str:
        await self._client.ensure_active_token(self._client.token)
        return f"Bearer {self._client.token['access_token']}"

    async def post(self, url: str, json: Any) -> int:
        return int((await self._client.post(url, json=json)).status_code)
