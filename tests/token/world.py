"""A holder and a server with the documented rules, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal, cast

import attrs
from yarl import URL

from truecaller_vbc import AccessToken, Credentials, TokenPolicy
from truecaller_vbc.credentials import CredentialsSource
from truecaller_vbc.errors import CredentialsRejectedError, MintQuotaExhaustedError, TokenEndpointError
from truecaller_vbc.stores import TokenStore
from truecaller_vbc.token.endpoint import Answer, MintResult
from truecaller_vbc.token.events import TokenEvent
from truecaller_vbc.token.holder import create_holder
from truecaller_vbc.token.ledger import Outcome

from .virtual_time import LoopClock

Mood = Literal["ok", "503", "refused", "lost", "hung", "429", "401", "same", "old", "garbage"]
CREDENTIALS = Credentials("account", "key", "secret")


@attrs.define
class Minted:
    """A token that the server made."""

    value: str
    at: float
    live: bool = True


class Server:
    """A token endpoint in memory: tokens live 60 minutes, 10 are granted in 30, and `mood` selects the answers."""

    base_url = URL("https://vbc.example")

    def __init__(self, clock: LoopClock, policy: TokenPolicy) -> None:
        self.clock = clock
        self.policy = policy
        self.mood: Mood = "ok"
        self.moods: list[Mood] = []
        self.latency = 0.05
        self.retry_after: float | None = None
        self.accepts = "secret"
        self.calls = 0
        self.arrivals: list[float] = []
        self.made: dict[str, Minted] = {}
        self.refused_for_quota = 0
        self.revoke_previous = False
        self._names = (f"token-{n:06}" for n in itertools.count(1))

    @property
    def mints(self) -> int:
        return len(self.arrivals)

    async def mint(self, http: object, credentials: Credentials, seconds: float = 30.0) -> Answer:
        self.calls += 1
        mood = self.moods.pop(0) if self.moods else self.mood
        if mood == "refused":
            return _failed(Outcome.UNSENT)
        timeout = self.policy.mint_timeout.total_seconds()
        await asyncio.sleep(min(self.latency, timeout) / 2)
        answer = self._answer(mood, credentials)
        await asyncio.sleep(timeout if mood == "hung" else min(self.latency, timeout) / 2)
        return _failed(Outcome.UNKNOWN) if self.latency >= timeout else answer

    def _answer(self, mood: Mood, credentials: Credentials) -> Answer:
        if mood == "503":
            return attrs.evolve(_failed(Outcome.REFUSED), retry_after=self.retry_after)
        if mood == "401" or credentials.api_key != self.accepts:
            return Answer(Outcome.REFUSED, error=CredentialsRejectedError("refused"))
        if mood == "429":
            return Answer(Outcome.REFUSED, error=MintQuotaExhaustedError("full"), retry_after=self.retry_after)
        if mood == "same" and self.made:
            return self._grant(list(self.made.values())[-1])
        return self._make(mood)

    def _make(self, mood: Mood) -> Answer:
        now = self.clock.now()
        if self.spent(now) >= self.policy.max_mints:
            self.refused_for_quota += 1
            return Answer(Outcome.REFUSED, error=MintQuotaExhaustedError("full"))
        self.arrivals.append(now)
        if mood in ("lost", "hung", "garbage"):
            return _failed(Outcome.UNKNOWN)
        if self.revoke_previous:
            self.revoke_all()
        # Different for each, and not made before the last one was handed out, or it would look like a wrong clock.
        since = now - self.arrivals[-2] if len(self.arrivals) > 1 else now
        age = min(2_700.0 + 120.0 * (len(self.made) % 5), since) if mood == "old" else 0.0
        minted = Minted(next(self._names), now - age)
        self.made[minted.value] = minted
        return self._grant(minted)

    def _grant(self, minted: Minted) -> Answer:
        created_at = datetime.fromtimestamp(minted.at, UTC)
        return Answer(Outcome.MINTED, MintResult(minted.value, created_at, self.clock.now() - minted.at))

    def spent(self, now: float) -> int:
        return sum(at > now - self.policy.mint_window.total_seconds() for at in self.arrivals)

    def accepts_token(self, value: str) -> bool:
        minted = self.made[value]
        return minted.live and self.clock.now() < minted.at + self.policy.lifetime.total_seconds()

    def revoke_all(self) -> None:
        for minted in self.made.values():
            minted.live = False

    def most_in_any_window(self) -> int:
        window = self.policy.mint_window.total_seconds()
        return max((sum(at - window < other <= at for other in self.arrivals) for at in self.arrivals), default=0)


def _failed(outcome: Outcome) -> Answer:
    return Answer(outcome, error=TokenEndpointError("failed"))


class World:
    """One holder and its server."""

    def __init__(
        self,
        *,
        policy: TokenPolicy | None = None,
        source: CredentialsSource = CREDENTIALS,
        store: TokenStore | None = None,
        server: Server | None = None,
    ) -> None:
        self.policy = policy or TokenPolicy()
        self.clock = server.clock if server else LoopClock(asyncio.get_running_loop().time)
        self.server = server or Server(self.clock, self.policy)
        self.events: list[TokenEvent] = []
        self.holder = create_holder(
            endpoint=cast(Any, self.server),
            source=source,
            store=store,
            policy=self.policy,
            clock=self.clock,
            on_event=self.events.append,
        )

    async def refresh(self) -> None:
        """Refresh as the background does, and wait for the end."""
        self.holder.refresh()
        assert self.holder._attempt is not None
        await asyncio.wait([self.holder._attempt])

    def current(self) -> AccessToken | None:
        """Return the current token if it is usable."""
        current = self.holder.state.usable(self.clock.now())
        return current.token if current is not None else None

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    """Open a holder in the running virtual loop, with seeded jitter."""
    random.seed(options.pop("seed", 1))
    it = World(**options)
    it.holder.open(None)
    try:
        yield it
    finally:
        await it.holder.close()
        assert it.holder._attempt is None
        assert it.holder._refresher.dormant
