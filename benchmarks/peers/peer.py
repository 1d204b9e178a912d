"""What a peer can be asked, whatever it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from aiohttp import ClientSession, ClientTimeout

from .wire import Wire

NO_LIMIT = 300


class Peer(ABC):
    """One peer with a token of its own, used as an async context manager.

    The defaults here are for those that only hand out a token: the user puts it into a header of aiohttp's.

    Attributes:
        packages: the distributions whose versions are printed.
        imports: what a user has to import.
        window: seconds before a token's end at which it begins to refresh, as it comes.
        fixed: why that cannot be set, if it cannot.
    """

    packages: ClassVar[tuple[str, ...]] = ("aiohttp",)
    imports: ClassVar[str] = "aiohttp"
    window: ClassVar[float]
    fixed: ClassVar[str] = ""

    def __init__(self, wire: Wire, http: ClientSession | None = None) -> None:
        self.wire = wire
        self.given = http

    async def __aenter__(self) -> Self:
        self.http = self.given or ClientSession(timeout=ClientTimeout(total=NO_LIMIT))
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
        if self.given is None:
            await self.http.close()

    async def open(self) -> None:  # noqa: B027 most need nothing
        """Build what the peer needs."""

    async def close(self) -> None:  # noqa: B027
        """Close what `open` has built."""

    @property
    def ahead(self) -> float:
        """The window in the scale of this run."""
        return self.window * self.wire.scale

    @property
    def attempts(self) -> int:
        """Mints that were begun."""
        return self.wire.attempts

    @abstractmethod
    async def authorization(self) -> str:
        """The header that the next request would carry."""

    async def post(self, url: str, json: Any) -> int:
        """Send an authenticated POST, read the answer, and return its status."""
        headers = {"Authorization": await self.authorization()}
        async with self.http.post(url, json=json, headers=headers) as response:
            await response.read()
            return response.status
