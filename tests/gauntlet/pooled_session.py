"""Use the pool of a simulated session as typed calls do, and record what it hands out and what the API rejects."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from truecaller_vbc import AccessToken
from truecaller_vbc.api.pooled_limit import PooledLimiter, PoolProof
from truecaller_vbc.errors import PaceExceededError
from truecaller_vbc.token.holder import TokenHolder

if TYPE_CHECKING:
    from .simulated_session import Call, Session

_MOST: Final = 3
_SECONDS: Final = 1.0
_MAX_WAIT: Final = 20.0
_PATH: Final = "/clients/{account}/labels"


class PooledSession:
    """The pool of one session with the pace and the proof that its typed calls would have.

    Stands for the token holder where the session's transport, pace and proof use it.

    Args:
        session: whose tokens are used.

    Attributes:
        given_up: older tokens that the API rejected for this session, and that were sent again with another one.
        proven: the current token beside which the API last accepted an older one.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._holder: TokenHolder = session.vbc._holder
        self.given_up: set[str] = set()
        self.proven: str | None = None
        session.vbc._transport._holder = cast(Any, self)
        self._pace = PooledLimiter(_MOST, _SECONDS, cast(Any, self))
        self._proof = PoolProof(cast(Any, self), self._ask)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._holder, name)

    @property
    def listeners(self) -> list[Callable[[], object]]:
        return self._holder.listeners

    def close(self) -> None:
        self._proof.close()
        self._pace.close()

    def live_tokens(self) -> list[AccessToken]:
        tokens = self._holder.live_tokens()
        self._session.simulation.checker.pools.handed_out(self._session, tokens)
        return tokens

    @property
    def current(self) -> str | None:
        """The value of the current token."""
        current = self._holder.state.current
        return current.token.value if current is not None else None

    def accepted(self, token: AccessToken, sent: float = float("-inf")) -> None:
        pool = self._holder.state.pool
        assert pool is not None
        if token.value != self.current and sent >= pool.obtained_at and pool.holds(token.value):
            self.proven = self.current
        self._holder.accepted(token, sent)

    async def rejected(self, token: AccessToken) -> bool:
        is_older = token.value != self.current
        helps = await self._holder.rejected(token)
        if helps and is_older and token.value != self.current:
            self.given_up.add(token.value)
        return helps

    async def replacement_rejected(self, rejected: AccessToken, token: AccessToken) -> bool:
        helps = await self._holder.replacement_rejected(rejected, token)
        if not helps:
            self.given_up.clear()  # no token helped: they are not the problem
        return helps

    # Requests

    async def send_paced(self, call: Call) -> None:
        """Wait for the turn of a call, and send it with the token that is free first."""
        await self._session.vbc.token()
        try:
            _, start = await self._pace.start(_MAX_WAIT)
        except PaceExceededError:
            return
        if start.token is None:
            async with self._session.vbc.get(self._path) as response:
                call.status = response.status
                await response.read()
            return
        await self._send(start.token, call)

    async def send_older(self, call: Call) -> None:
        """Send a request with any live token, or with the current one."""
        tokens = self.live_tokens() or [await self._session.vbc.token()]
        await self._send(self._session.simulation.rng.choice(tokens), call)

    async def _send(self, token: AccessToken, call: Call) -> None:
        async with self._session.vbc.request_with(token, "GET", self._path) as response:
            call.status = response.status
            await response.read()

    async def _ask(self, token: AccessToken) -> None:
        with contextlib.suppress(TimeoutError):
            async with self._session.vbc.request_with(token, "GET", self._path) as response:
                await response.read()

    @property
    def _path(self) -> str:
        return _PATH.replace("{account}", self._session.simulation.sandbox.credentials.client_account_id)
