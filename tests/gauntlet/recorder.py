"""Record what happens at the token endpoint and in the sandbox, outside of the library."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final
from unittest.mock import patch

import aiohttp
import attrs

from truecaller_vbc.credentials import Credentials
from truecaller_vbc.errors import TokenError
from truecaller_vbc.sandbox import Sandbox
from truecaller_vbc.sandbox.tokens import IssuedToken, QuotaSpentError, fingerprint
from truecaller_vbc.token.endpoint import Answer, TokenEndpoint
from truecaller_vbc.token.known_tokens import CurrentToken
from truecaller_vbc.token.minter import Minter
from truecaller_vbc.token.state import RefreshMode

NEVER: Final = float("inf")
_NEWEST: Final = 40
_ROUNDING: Final = 0.001
_mode: Final = ContextVar[RefreshMode]("_mode")


@attrs.define
class Attempt:
    """One POST for a token, as seen at the sender's side of the wire.

    Args:
        actor: number of the session.
        group: number of the store; sessions that share it know of each other's attempts.
        sent: time of sending.
        ahead: whether the sender had a usable token.
        growing: whether a further token was wanted beside the current one.
        replacing: whether the API had rejected the current one.
        ended: time of the answer; infinity while there is none.
        answer: the parsed answer.
        overdue: when its callers stopped waiting; infinity if they did not. Timers stand still while a machine sleeps.
        seen: when each session first read the store after the answer.
        shift: the time of the shared document minus that of the simulation, as the sender took it.
    """

    actor: int
    group: int
    sent: float
    ahead: bool
    growing: bool = False
    replacing: bool = False
    ended: float = NEVER
    answer: Answer | None = None
    overdue: float = NEVER
    seen: dict[int, float] = attrs.field(factory=dict[int, float])
    shift: float | None = None

    @property
    def outcome(self) -> str:
        return self.answer.outcome.value if self.answer else "unknown"

    @property
    def counts(self) -> bool:
        return self.outcome in ("minted", "unknown")

    @property
    def error(self) -> type[TokenError] | None:
        return type(self.answer.error) if self.answer and self.answer.error else None

    def has_time_of(self, other: Attempt) -> bool:
        """Return whether both senders took the same time for that of the document."""
        return self.shift is not None and other.shift is not None and abs(self.shift - other.shift) < _ROUNDING

    @property
    def value(self) -> str | None:
        return self.answer.result.value if self.answer and self.answer.result else None


@attrs.frozen
class Mint:
    """A token that the sandbox made; `at` is monotonic time."""

    at: float
    value: str = attrs.field(repr=False)


class Recorder:
    """Keep the attempts of all sessions, and the sandbox's mints, refusals and rejected tokens.

    Attributes:
        attempts: in the order of sending.
        mints: of the sandbox, oldest first.
        dead: fingerprints of tokens that an API answer rejected.
        refusals: times at which the sandbox refused a mint for its quota.
    """

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.mints: list[Mint] = []
        self.refusals: list[float] = []
        self.dead: set[str] = set()
        self._read = 0

    def attach(self, sandbox: Sandbox, now: Any) -> None:
        """Record the mints and rejections of a sandbox."""
        issuer = sandbox._tokens
        mint = issuer._mint

        def recorded_mint(elapsed: float) -> IssuedToken:
            try:
                token = mint(elapsed)
            except QuotaSpentError:
                self.refusals.append(now())
                raise
            self.mints.append(Mint(now(), token.value))
            return token

        is_live = issuer.is_live

        def recorded_is_live(value: str, elapsed: float) -> bool:
            if not (live := is_live(value, elapsed)):
                self.dead.add(fingerprint(value))
            return live

        issuer._mint = recorded_mint  # type: ignore[method-assign, assignment]
        issuer.is_live = recorded_is_live  # type: ignore[method-assign, assignment]

    def read_log(self, sandbox: Sandbox) -> None:
        """Add the tokens that were rejected by an injected fault, from the sandbox's log."""
        records = sandbox._log._records
        for number in range(self._read, len(records)):
            record = records[number]
            if record.fingerprint is not None and record.status in (401, 500):
                self.dead.add(record.fingerprint)
        self._read = len(records)

    def store_read(self, reader: int, now: float) -> None:
        """Note that a session reads the store, and so learns of all attempts that have ended."""
        for attempt in self.attempts[-_NEWEST:]:
            if attempt.ended <= now:
                attempt.seen.setdefault(reader, now)

    def minted_at(self, value: str) -> float | None:
        """Return when the sandbox made a token."""
        return next((mint.at for mint in reversed(self.mints) if mint.value == value), None)

    def group(self, attempt_of: int) -> list[Attempt]:
        """Return the attempts of all sessions that share a store."""
        return [attempt for attempt in self.attempts if attempt.group == attempt_of]


@contextmanager
def modes_recorded() -> Generator[None]:
    """Let `is_growing` know what each attempt is made for."""
    obtain = Minter.obtain

    async def obtain_in_mode(self: Minter, http: Any, mode: RefreshMode) -> CurrentToken:
        _mode.set(mode)
        return await obtain(self, http, mode)

    with patch.object(Minter, "obtain", obtain_in_mode):
        yield


def is_growing() -> bool:
    """Return whether the running attempt is made for a further token of a pool."""
    return _mode.get(RefreshMode.MANDATORY) is RefreshMode.GROW


class RecordingEndpoint:
    """Wrap the library's token endpoint, and record each attempt."""

    def __init__(self, inner: TokenEndpoint, session: Any) -> None:
        self._inner = inner
        self._session = session

    @property
    def base_url(self) -> Any:
        return self._inner.base_url

    async def mint(self, http: aiohttp.ClientSession, credentials: Credentials, seconds: float) -> Answer:
        attempt = self._session.mint_started()
        await self._session.simulation.freezer.reached("minting")
        answer = await self._inner.mint(http, credentials, seconds)
        self._session.mint_ended(attempt, answer)
        return answer
