"""One token, single flight, rejection."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeAlias

import aiohttp
import attrs

from ..credentials import CredentialsSource
from ..errors import (
    CredentialsRejectedError,
    SessionClosedError,
    StoreRefusedError,
    TokenEndpointError,
    TokenError,
    VBCError,
)
from ..stores.protocol import TokenStore
from . import cancellation
from .acquirer import Acquirer, Need, StoodAside
from .books import Issued
from .clock import Clock, aware
from .endpoint import TokenEndpoint
from .events import (
    Announcer,
    LedgerEntry,
    MintFailed,
    RefreshFailed,
    State,
    TokenAdopted,
    TokenEvent,
    TokenMinted,
    TokenRejected,
    TokenStatus,
)
from .failure import backoff, doubled, fresh
from .model import AccessToken
from .policy import TokenPolicy
from .refresher import Refresher

_log = logging.getLogger("truecaller_vbc")
_NEVER: Final = float("inf")

Outcome: TypeAlias = AccessToken | TokenError | StoreRefusedError | SessionClosedError | None
"""What an attempt brings its waiters; None where it stood aside, which is nobody's failure."""


@attrs.define(weakref_slot=False)
class Held:
    """The token at hand.

    Args:
        token: for the callers.
        obtained: when, for the grace of a rejection.
        soft: when it becomes stale; drawn once.
        hard: when it is no longer handed out.
        accepted: whether the API has accepted it since.
    """

    token: AccessToken
    obtained: float
    soft: float
    hard: float
    accepted: bool = False


class TokenHolder:
    """Holds one token for any number of callers, and sees to it that one attempt serves them all.

    The lock that guards it is the attempt itself: a task that the holder owns and that nobody can cancel. Callers
    wait for its outcome, each on a future of its own, so that one who leaves takes nothing away; a failure is an
    outcome like a token.

    Args:
        endpoint: where tokens are minted.
        source: credentials, or an async callable that fetches them.
        store: the document that is shared with other processes; None where nothing is shared.
        policy: the numbers.
        clock: the only time it knows.
        on_event: told of everything that happens to the token.
    """

    __slots__ = (
        "_acquirer",
        "_announce",
        "_attempt",
        "_clock",
        "_closed",
        "_cooling",
        "_http",
        "_loop",
        "_policy",
        "_refresh_failures",
        "_refresher",
        "_unproven",
        "_waiters",
        "asked",
        "held",
        "hot",
        "loop_time",
        "now",
        "refresh_at",
    )

    def __init__(
        self,
        *,
        endpoint: TokenEndpoint,
        source: CredentialsSource,
        store: TokenStore | None,
        policy: TokenPolicy,
        clock: Clock,
        on_event: Callable[[TokenEvent], object] | None = None,
    ) -> None:
        self._announce = Announcer(on_event)
        self._acquirer = Acquirer(
            endpoint=endpoint,
            source=source,
            store=store,
            policy=policy,
            clock=clock,
            announce=self._announce,
        )
        self._policy = policy
        self._clock = clock
        self.now = clock.now
        self.held: Held | None = None
        self._attempt: asyncio.Task[Outcome] | None = None
        self._waiters: list[asyncio.Future[Outcome]] | None = None
        self.asked = False
        self._closed = False
        self._cooling: asyncio.TimerHandle | None = None
        self._refresh_failures = 0
        self._unproven = 0
        self.refresh_at = _NEVER
        # The token while it was seen to be fresh a moment ago: the whole fast path of its readers.
        self.hot: AccessToken | None = None

    def open(self, http: aiohttp.ClientSession | None) -> None:
        """Start to live on the running loop, with the user's session for the mints; None where each has its own."""
        self._loop = asyncio.get_running_loop()
        self.loop_time = self._loop.time
        self._http = http
        self._refresher = Refresher(self, self._clock)

    # Reading

    async def token(self) -> AccessToken:
        """A token that may be sent.

        Raises:
            TokenError: none could be had; not to be asked for again before its ``retry_at``.
            StoreRefusedError: the store must not be used as it is.
            SessionClosedError: the session was closed meanwhile.
        """
        while True:
            if (token := self._usable()) is not None:
                return token
            if (token := _told(await self._attempted())) is not None:
                return token

    def _attempted(self) -> asyncio.Future[Outcome]:
        """To be waited for: the attempt under way, or a new one; without any, raises the failure that is remembered."""
        if self._closed:
            raise SessionClosedError("the session is closed: make a new VBCSession")
        if self._attempt is None:
            if (error := self._acquirer.blocked()) is not None:
                raise error
            self._start(Need.NOTHING_LEFT)
        waiter: asyncio.Future[Outcome] = self._loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        return waiter

    def _usable(self) -> AccessToken | None:
        held = self.held
        if held is None or self._closed:
            return None
        now = self.now()
        if now >= held.hard:
            return None
        self.asked = True
        if now < held.soft:
            self._heat(held.token)
        elif self.refresh_at == _NEVER and not self._resting():
            self.refresh_at = now  # dormant until now: somebody asks again
            self._refresher.wake()
        return held.token

    def _heat(self, token: AccessToken) -> None:
        """Take the token as fresh, without looking at the clock, for a tenth of the margin before its end."""
        if self.hot is not None:
            return
        self.hot = token
        margin = self._policy.expiry_margin.total_seconds()
        self._cooling = self._loop.call_later(min(1.0, margin / 10), self._cool)

    def _cool(self) -> None:
        self.hot = None
        if self._cooling is not None:
            self._cooling.cancel()
            self._cooling = None

    # The one attempt

    def _start(self, need: Need) -> asyncio.Task[Outcome]:
        # An empty context: a caller's request-scoped variables must not live on in a task that outlives the caller.
        self._attempt = self._loop.create_task(
            self._run(need), name="truecaller_vbc attempt", context=contextvars.Context()
        )
        self._attempt.add_done_callback(self._deliver)
        return self._attempt

    def _deliver(self, attempt: asyncio.Task[Outcome]) -> None:
        self._attempt = None
        waiters, self._waiters = self._waiters or (), None
        if attempt.cancelled():
            outcome: Outcome = _closed_in_mid_mint()
        else:
            outcome = attempt.result()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(outcome)

    async def _run(self, need: Need) -> Outcome:
        held = self.held
        try:
            issued = await self._acquirer.acquire(self._http, need, held.token.value if held else None)
        except StoodAside as aside:
            self.refresh_at = aside.until
            return None
        except TokenError as error:
            return self._failed(error)
        except StoreRefusedError as error:
            return self._refused_by_store(error, need)
        except (Exception, asyncio.CancelledError) as error:
            cancellation.let_through(error)
            _log.exception("an attempt to get a token failed in a way that it should not")
            bug = TokenEndpointError("an attempt failed in an unexpected way: the log of truecaller_vbc says how")
            return self._failed(self._acquirer.books.fail(bug, shared=False))
        # Closed, and here all the same: something swallowed the cancellation that was to end this.
        return _closed_in_mid_mint() if self._closed else self._keep(issued, need)

    def _keep(self, issued: Issued, need: Need) -> AccessToken:
        now = self.now()
        soft = issued.starts_at + self._soft_age()
        hard = issued.starts_at + self._policy.usable_for.total_seconds()
        self.held = Held(issued.token, now, soft, hard)
        # Readers are busy at this moment: they go on with the new token, and none of them has to heat it.
        busy = self.hot is not None and now < soft
        if busy:
            self.hot = issued.token
        else:
            self._cool()
        # Whoever waited for it will use it, and so will they; a refresh is used only by those who ask from now on.
        self.asked = busy or need is Need.NOTHING_LEFT or bool(self._waiters)
        if (issued.repeated or now >= soft) and not issued.adopted:
            self._refresh_later(now)
        else:
            self._refresh_failures = 0
            self.refresh_at = soft
        self._refresher.wake()
        self._announce(self._obtained(issued))
        return issued.token

    def _obtained(self, issued: Issued) -> TokenEvent:
        token = issued.token
        if issued.adopted:
            return TokenAdopted(token.fingerprint, issued.generation, token.expires_at)
        return TokenMinted(token.fingerprint, issued.generation, token.expires_at, self._mints_left())

    def _soft_age(self) -> float:
        policy = self._policy
        jitter = random.uniform(0, policy.refresh_jitter.total_seconds())
        return (policy.lifetime - policy.refresh_ahead).total_seconds() - jitter

    def _failed(self, error: TokenError) -> TokenError:
        # Kept and shared, so the frames that it went through would never go.
        error.__traceback__ = None
        if self.held is None or self.now() >= self.held.hard:
            self._announce(MintFailed(error))
            return error
        if isinstance(error, CredentialsRejectedError):
            self.refresh_at = _NEVER
        else:
            failure = self._acquirer.books.failure
            self._refresh_later(failure.until if failure else self.now())
        self._announce(RefreshFailed(error, self._as_time(self.refresh_at)))
        return error

    def _refused_by_store(self, error: StoreRefusedError, need: Need) -> Outcome:
        """Callers without a token hear of it each time: looking costs no network, and people must mend it."""
        error.__traceback__ = None
        if need is Need.AHEAD:
            self.refresh_at = self.now() + backoff(self._policy.refresh_retry, 1)
            return None
        return error

    def _refresh_later(self, earliest: float) -> None:
        """The background waits for its own backoff and for what the failure says, whichever is later."""
        self._refresh_failures += 1
        wait = backoff(self._policy.refresh_retry, self._refresh_failures)
        self.refresh_at = max(earliest, self.now() + wait)

    # Refreshing

    async def refresh(self) -> None:
        """Called by the background when `refresh_at` has come. Dormant where nobody asked since the last time."""
        held = self.held
        if held is None or not self.asked or self.now() >= held.hard:
            self.refresh_at = _NEVER
            return
        # Not a waiter: who waits for an attempt will use its token, and that is demand for the next.
        await asyncio.wait([self._attempt or self._start(Need.AHEAD)])

    async def save_back(self) -> None:
        """Called by the background now and then: tell the store what it missed."""
        await self._acquirer.save_back()

    def _resting(self) -> bool:
        """Whether the background rests because the credentials were refused, not because nobody asked."""
        failure = self._acquirer.books.failure
        return failure is not None and isinstance(failure.error, CredentialsRejectedError)

    # Rejection

    def accepted(self, token: AccessToken) -> None:
        """The API took this token: the next rejection is not one of a token that never worked."""
        held = self.held
        if held is not None and not held.accepted and held.token is token:
            held.accepted = True
            self._unproven = 0

    def rejected(self, token: AccessToken) -> bool:
        """Judge a token that the API refused: whether sending the request again with another one may help."""
        held = self.held
        if held is None or held.token.value != token.value:
            self._acquirer.books.reject(token.value)
            return True
        if self.now() - held.obtained < self._grace():
            self._announce(TokenRejected(token.fingerprint, replaced=False))
            return False
        self._acquirer.books.reject(token.value)
        replaceable = self._acquirer.blocked() is None and self._mints_left() > 0
        self._announce(TokenRejected(token.fingerprint, replaced=replaceable))
        if replaceable:
            self._drop(held)
        return True

    async def replacement(self, rejected: AccessToken) -> AccessToken:
        """Another token than the one that was refused.

        Raises:
            TokenError: there is none. A token that cannot be replaced now is kept: other endpoints may take it.
        """
        while (held := self.held) is not None and held.token.value == rejected.value:
            if (token := _told(await self._attempted())) is not None:
                return token
        return await self.token()

    def _drop(self, held: Held) -> None:
        self._unproven = 0 if held.accepted else self._unproven + 1
        self._cool()
        self.held = None
        self.refresh_at = _NEVER

    def _grace(self) -> float:
        """Longer with every token in a row that the API never took: replacing them is not what helps."""
        return min(
            doubled(self._policy.rejection_grace, self._unproven + 1),
            self._policy.mint_window.total_seconds(),
        )

    # Looking

    def status(self) -> TokenStatus:
        """A snapshot, without any I/O."""
        held, now = self.held, self.now()
        failure = self._acquirer.books.failure
        blocked = self._acquirer.blocked()
        return TokenStatus(
            state=self._state(held, now),
            fingerprint=held.token.fingerprint if held else None,
            generation=self._acquirer.books.generation,
            expires_at=held.token.expires_at if held else None,
            next_refresh_at=self._as_time(self.refresh_at),
            mints_in_window=self._acquirer.books.ledger.spent(now),
            mints_left=self._mints_left(),
            retry_at=blocked.retry_at if blocked else None,
            last_error=fresh(failure.error) if failure else None,
        )

    def ledger(self) -> tuple[LedgerEntry, ...]:
        """The attempts of the last window."""
        shift = self._clock.wall() - self.now()
        attempts = self._acquirer.books.ledger.pruned(self.now()).attempts
        return tuple(LedgerEntry(aware(a.at + shift), a.outcome.value, a.by) for a in attempts)

    def _state(self, held: Held | None, now: float) -> State:
        if held is None:
            return "empty"
        return "fresh" if now < held.soft else "stale" if now < held.hard else "expired"

    @property
    def account(self) -> str | None:
        """The account's ID; None until the credentials callable was first asked."""
        credentials = self._acquirer.credentials
        return credentials.client_account_id if credentials else None

    def _mints_left(self) -> int:
        now = self.now()
        return max(0, self._policy.max_mints - self._acquirer.books.ledger.spent(now))

    def _as_time(self, at: float) -> datetime | None:
        return None if at == _NEVER else aware(self._clock.wall() + at - self.now())

    # Closing

    async def close(self) -> None:
        """Stop everything. Those who wait get `SessionClosedError`."""
        self._closed = True
        self._cool()
        self.held = None
        self.refresh_at = _NEVER
        await self._refresher.stop()
        if (attempt := self._attempt) is not None:
            attempt.cancel()
            await asyncio.wait([attempt])


def _closed_in_mid_mint() -> SessionClosedError:
    return SessionClosedError("the session was closed while a token was being minted")


def _told(outcome: Outcome) -> AccessToken | None:
    """What a waiter is told of an outcome: a failure as an exception of its own."""
    if isinstance(outcome, VBCError):
        raise fresh(outcome)
    return outcome
