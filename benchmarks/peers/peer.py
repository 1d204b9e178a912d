"""Define what each compared library must be able to do, and the server that it is connected to."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import attrs
from aiohttp import ClientSession, ClientTimeout

from truecaller_vbc import Credentials

TOTAL_TIMEOUT = 300


@attrs.define
class Target:
    """The server and account that a peer uses.

    Args:
        base_url: URL of the sandbox.
        account: ID of the account.
        key_id: ID of the API key.
        api_key: the API key.
        lifetime: seconds that a token lives, as the server's rules say.
        scale: factor for the peers' own refresh windows where they can be set; lifetime / 3600 to scale an hour down.
        store: URL of a store, for this library only.
        attempts: mints that were started, as far as the adapter sees them; some never reach a server.
    """

    base_url: str
    account: str
    key_id: str
    api_key: str = attrs.field(repr=False)
    lifetime: float = 3600.0
    scale: float = 1.0
    store: str | None = None
    attempts: int = 0

    @property
    def token_url(self) -> str:
        """URL of the token endpoint."""
        return f"{self.base_url}/clients/{self.account}/token"

    @property
    def record_url(self) -> str:
        """URL of an endpoint that needs a token."""
        return f"{self.base_url}/v2/clients/{self.account}/dynamic_call_record"

    @property
    def token_headers(self) -> dict[str, str]:
        """Headers of a token request."""
        return {"X-Public-Access": "allow"}

    @property
    def token_body(self) -> dict[str, str]:
        """Body of a token request."""
        return {"key_id": self.key_id, "api_key": self.api_key}

    @property
    def encoded_request(self) -> tuple[bytes, dict[str, str]]:
        """Body and headers of a token request, for libraries that do not encode JSON."""
        return json.dumps(self.token_body).encode(), self.token_headers | {"Content-Type": "application/json"}

    @property
    def credentials(self) -> Credentials:
        """The credentials as this library takes them."""
        return Credentials(self.account, self.key_id, self.api_key)

    async def mint(self, http: ClientSession, timeout: float | None = None) -> str:
        """Request a token, for libraries that leave the request to the user.

        Raises:
            aiohttp.ClientError: the request failed.
        """
        self.attempts += 1
        options = {} if timeout is None else {"timeout": timeout}
        async with http.post(
            self.token_url,
            json=self.token_body,
            headers=self.token_headers,
            middlewares=(),
            **options,  # type: ignore[arg-type]
        ) as response:
            response.raise_for_status()
            token: str = (await response.json())["token"]
            return token


class Peer(ABC):
    """One library with a token of its own, used as an async context manager.

    The defaults are for libraries that only return a token: the user puts it into a header of aiohttp.

    Attributes:
        packages: distributions whose versions are printed.
        imports: import statement that a user needs.
        window: seconds before the end of a token at which the library starts to refresh it, by default.
        fixed: why `window` cannot be set, or "".
    """

    packages: ClassVar[tuple[str, ...]] = ("aiohttp",)
    imports: ClassVar[str] = "import aiohttp"
    window: ClassVar[float]
    fixed: ClassVar[str] = ""

    def __init__(self, target: Target, http: ClientSession | None = None) -> None:
        self.target = target
        self._shared_http = http

    async def __aenter__(self) -> Self:
        self.http = self._shared_http or ClientSession(timeout=ClientTimeout(total=TOTAL_TIMEOUT))
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        if self._shared_http is None:
            await self.http.close()

    async def open(self) -> None:  # noqa: B027 - optional
        """Create what the library needs."""

    async def close(self) -> None:  # noqa: B027 - optional
        """Close what `open` created."""

    @property
    def scaled_window(self) -> float:
        """`window` in the time scale of this run."""
        return self.window * self.target.scale

    @property
    def attempts(self) -> int:
        """Mints that were started."""
        return self.target.attempts

    @abstractmethod
    async def authorization(self) -> str:
        """Return the Authorization header that the next request would carry."""

    async def post(self, url: str, json: Any) -> int:
        """Send an authenticated POST, read the answer, and return its status."""
        headers = {"Authorization": await self.authorization()}
        async with self.http.post(url, json=json, headers=headers) as response:
            await response.read()
            return response.status
