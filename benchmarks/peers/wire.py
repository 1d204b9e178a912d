"""What every peer is told, and how one mint looks on the wire."""

from __future__ import annotations

import json

import attrs
from aiohttp import ClientSession

from truecaller_vbc import Credentials


@attrs.define
class Wire:
    """The server's side of the deal.

    Args:
        base_url: of the sandbox.
        account: the account's ID.
        key_id: the key's ID.
        api_key: the secret.
        lifetime: seconds that a token lives; the server's rules say the same.
        scale: what the peers' own windows are multiplied by, where they can be set: 1 as they come, and
            lifetime / 3600 where an hour shall pass in less.
        store: for ours alone: the URL of a store.
        attempts: mints that were begun, as far as the adapter sees them; some never reach a server.
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
        return f"{self.base_url}/clients/{self.account}/token"

    @property
    def record_url(self) -> str:
        """An endpoint of the API that needs a token."""
        return f"{self.base_url}/v2/clients/{self.account}/dynamic_call_record"

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Public-Access": "allow"}

    @property
    def body(self) -> dict[str, str]:
        return {"key_id": self.key_id, "api_key": self.api_key}

    @property
    def raw(self) -> tuple[bytes, dict[str, str]]:
        """Body and headers, for those who send no JSON by themselves."""
        return json.dumps(self.body).encode(), self.headers | {"Content-Type": "application/json"}

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.account, self.key_id, self.api_key)

    async def mint(self, http: ClientSession, timeout: float | None = None) -> str:
        """One POST, for the peers that leave it to the user.

        Raises:
            aiohttp.ClientError: no token.
        """
        self.attempts += 1
        options = {} if timeout is None else {"timeout": timeout}
        async with http.post(
            self.token_url,
            json=self.body,
            headers=self.headers,
            middlewares=(),
            **options,  # type: ignore[arg-type]
        ) as response:
            response.raise_for_status()
            token: str = (await response.json())["token"]
            return token
