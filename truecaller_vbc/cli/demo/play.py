"""The acts of the play, each at its hour. They are timed so that a good holder loses no call, and a bad one does."""

from __future__ import annotations

import asyncio
from typing import Final

from ...sandbox import Sandbox
from ...stores.protocol import TokenStore
from ...token.document import load, short_hash
from .company import Company
from .options import POLICY

_POLL: Final = 0.005
_SETTLED: Final = 0.8
_OUTAGE_FROM: Final = 1.4
_OUTAGE_UNTIL: Final = 2.4
_ENOUGH_REFUSALS: Final = 3
_MINT_HANGS: Final = 0.4


class Play:
    """What is played and what has been.

    Args:
        sandbox: the stage.
        company: those who play.
        store: what a fleet shares; None for a single process.
        seconds: how long; longer if the acts need it.
    """

    def __init__(self, sandbox: Sandbox, company: Company, store: TokenStore | None, seconds: float) -> None:
        self._sandbox = sandbox
        self._company = company
        self._store = store
        self._seconds = seconds
        self._clock = asyncio.get_running_loop().time
        self._started = self._minted_at = self._clock()
        self.act = "ordinary refreshes"
        self.acts: list[str] = []

    async def run(self) -> None:
        """Play all acts."""
        while not self._company.ready():
            await asyncio.sleep(_POLL)
        self._started = self._clock()
        await self._until(0.1)
        await self._next_mint()
        # Everybody has had the token for a while: one that is refused at once is no token problem.
        await asyncio.sleep(_SETTLED)
        self._begin("revocation of every token")
        self._sandbox.revoke_all()
        await self._next_mint()
        await self._until(0.4)
        await self._outage()
        await self._until(0.7)
        self._begin("all connections killed")
        await self._sandbox.drop_connections()
        if self._store is not None:
            await self._until(0.8)
            await self._kill_the_leader()
        await asyncio.sleep(1)
        self.act = "ordinary refreshes"
        await self._until(1)

    async def _outage(self) -> None:
        """The token endpoint is down at the soft point, and comes back before the token's end."""
        if self._clock() > self._minted_at + _OUTAGE_FROM:
            await self._next_mint()
        await asyncio.sleep(self._minted_at + _OUTAGE_FROM - self._clock())
        self._begin("token endpoint down (503)")
        self._sandbox.set_outage("token", status=503)
        enough = self._sandbox.token_requests + _ENOUGH_REFUSALS
        while self._sandbox.token_requests < enough and self._clock() < self._minted_at + _OUTAGE_UNTIL:
            await asyncio.sleep(_POLL)
        self._sandbox.end_outage("token")

    async def _kill_the_leader(self) -> None:
        """The process whose mint is under way is killed with SIGKILL."""
        await self._next_mint()
        self._sandbox.fail_next("token", delay=_MINT_HANGS)
        self._begin("leader killed in mid-mint")
        async with asyncio.timeout(POLICY.lifetime.total_seconds() * 2):
            while not self._company.kill(await self._leader()):
                await asyncio.sleep(_POLL)

    async def _leader(self) -> int:
        """The process that entered a mint and has not said what became of it."""
        assert self._store is not None  # noqa: S101 - a fleet has one
        credentials = self._sandbox.credentials
        text = await self._store.read(short_hash(self._sandbox.base_url, credentials.client_account_id))
        pids = [int(attempt.by.rpartition(":")[2]) for attempt in load(text).attempts if attempt.outcome == "unknown"]
        return pids[-1] if pids else 0

    async def _next_mint(self) -> None:
        mints = self._sandbox.mints
        while self._sandbox.mints == mints:
            await asyncio.sleep(_POLL)
        self._minted_at = self._clock()

    async def _until(self, share: float) -> None:
        await asyncio.sleep(self._started + share * self._seconds - self._clock())

    def _begin(self, act: str) -> None:
        self.act = act
        self.acts.append(act)
