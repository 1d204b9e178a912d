"""Open a session for one account of a simulated process, and let the checker see what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp
import attrs

from truecaller_vbc import AccessToken, TokenPolicy, VBCSession
from truecaller_vbc.token.endpoint import Answer
from truecaller_vbc.token.events import PoolEnded, TokenAdopted, TokenEvent, TokenMinted, TokenRejected

from .expected_failures import TIMEOUT
from .faulty_store import FaultyStore
from .pooled_session import PooledSession
from .recorder import NEVER, Attempt, RecordingEndpoint, is_growing

if TYPE_CHECKING:
    from .simulation import Simulation
    from .site import Machine

POLICY: Final = TokenPolicy()


@attrs.frozen(eq=False)
class Process:
    """A client process, with a session for each account.

    Args:
        number: of the process, and of its sessions.
        group: number of its store; processes that share it know of each other.
        machine: whose clock it has.
        store: of its sessions.
        http: shared by its sessions; None with one account, whose session opens its own.
    """

    number: int
    group: int
    machine: Machine
    store: FaultyStore
    http: aiohttp.ClientSession | None


@attrs.define(eq=False)
class Call:
    """One call and its result."""

    session: int
    kind: str
    began: float
    began_loop: float
    status: int | None = None
    token: AccessToken | None = None
    error: BaseException | None = None
    cancelled: bool = False

    @property
    def result(self) -> str:
        return type(self.error).__name__ if self.error else str(self.status or (self.token and "token"))


class Session:
    """A `VBCSession` and what the simulation knows of it."""

    def __init__(self, simulation: Simulation, process: Process) -> None:
        self.simulation = simulation
        self.number = process.number
        self.group = process.group
        self.opened = simulation.now()
        self.opened_loop = simulation.loop.time()
        self.tokens = simulation.pools.size_for_next()
        self.machine = process.machine
        self.closed = False
        self.replacing = False
        self.newest: str | None = None
        self.store = process.store
        self.events: list[TokenEvent] = []
        self.vbc = VBCSession(
            simulation.vault if simulation.settings.vault else simulation.right_credentials(),
            base_url=simulation.sandbox.base_url,
            store=self.store,
            http=process.http,
            policy=attrs.evolve(POLICY, tokens=self.tokens),
            clock=self.machine,
            on_event=self._on_event,
        )
        minter = self.vbc._holder._minter
        minter._endpoint = cast(Any, RecordingEndpoint(minter._endpoint, self))
        self.pool: PooledSession | None = None

    async def open(self) -> None:
        await self.vbc.__aenter__()
        if self.tokens > 1:
            self.pool = PooledSession(self)

    async def close(self) -> None:
        if self.pool is not None:
            self.pool.close()
        await self.vbc.close()

    def _on_event(self, event: TokenEvent) -> None:
        self.simulation.scanner.scan(repr(event), "the repr of an event")
        self.simulation.count(f"event {type(event).__name__}")
        if isinstance(event, TokenRejected):
            self.replacing |= event.replaced
        if isinstance(event, TokenMinted | TokenAdopted):
            self.newest, self.replacing = event.fingerprint, False
        if isinstance(event, PoolEnded):
            self.simulation.checker.pools.ended(self, event.fingerprint)

    def usable(self) -> AccessToken | None:
        """Return the token that the session could return now, without using the session."""
        current = self.vbc._holder.state.usable(self.simulation.now())
        return current.token if current is not None else None

    def live(self) -> list[AccessToken]:
        """Return the tokens that the session could return now, without using the session."""
        return self.vbc._holder.state.live(self.simulation.now())

    def current_value(self) -> str | None:
        """Return the current token, ended or not."""
        current = self.vbc._holder.state.current
        return current.token.value if current is not None else None

    # The wire

    def mint_started(self) -> Attempt:
        recorder = self.simulation.recorder
        recorder.read_log(self.simulation.sandbox)
        # A token that the API has rejected is no token to refresh ahead of.
        ahead = (token := self.usable()) is not None and token.fingerprint not in recorder.dead
        attempt = Attempt(self.number, self.group, self.simulation.now(), ahead=ahead, growing=is_growing())
        attempt.replacing = self.replacing
        attempt.shift = self.vbc._holder._minter._exchange._clock.shift
        self.simulation.checker.before_mint(self, attempt)
        self.simulation.recorder.attempts.append(attempt)
        self.simulation.loop.call_later(TIMEOUT, self._overdue, attempt)
        return attempt

    def _overdue(self, attempt: Attempt) -> None:
        if attempt.ended == NEVER:
            attempt.overdue = self.simulation.now()

    def mint_ended(self, attempt: Attempt, answer: Answer) -> None:
        attempt.ended, attempt.answer = self.simulation.now(), answer
        if answer.result:
            self.simulation.scanner.known.add(str(answer.result.value))
        self.simulation.checker.after_mint(self, attempt)
