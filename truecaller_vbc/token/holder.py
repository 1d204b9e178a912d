"""Hold the current token; let concurrent callers share one mint; replace rejected tokens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeAlias

import aiohttp
import attrs

from ..credentials import CredentialsSource
from ..durations import seconds
from ..errors import (
    CredentialsRejectedError,
    SessionClosedError,
    StoreRefusedError,
    TokenEndpointError,
    TokenError,
    VBCError,
)
from ..stores.protocol import TokenStore
from .clock import NEVER, Clock
from .endpoint import TokenEndpoint
from .events import (
    Announcer,
    LedgerEntry,
    MintFailed,
    PoolEnded,
    RefreshFailed,
    TokenAdopted,
    TokenEvent,
    TokenMinted,
    TokenRejected,
    TokenStatus,
)
from .guards import GuardedStore
from .known_tokens import CurrentToken
from .minter import Minter, RefreshDeferred
from .model import AccessToken
from .policy import TokenPolicy
from .refresher import Refresher
from .rejection import Rejection
from .state import AccountState, RefreshMode, fresh_copy
from .status import entries, next_refresh, snapshot
from .tasks import GracefulTask, reraise_if_cancelled, timeout

AttemptResult: TypeAlias = AccessToken | TokenError | StoreRefusedError | SessionClosedError | None
"""Result of an attempt to get a token; None if the refresh was deferred."""


def create_holder(
    *,
    endpoint: TokenEndpoint,
    source: CredentialsSource,
    store: TokenStore | None,
    policy: TokenPolicy,
    clock: Clock,
    on_event: Callable[[TokenEvent], object] | None = None,
) -> TokenHolder:
    """Return a holder with its state and its minter.

    Args:
        endpoint: where tokens are minted.
        source: credentials, or an async callable that fetches them.
        store: the store that is shared with other processes; None if nothing is shared.
        policy: the numbers.
        clock: the only source of time.
        on_event: called with everything that happens to the token.
    """
    state = AccountState(policy)
    announce = Announcer(on_event, state.log)
    guarded = None if store is None else GuardedStore(store, seconds(policy.mint_timeout / 3), announce, state.log)
    minter = Minter(state, endpoint, source, guarded, policy, clock)
    return TokenHolder(state, minter, policy, clock, announce)


@attrs.define(eq=False, repr=False, weakref_slot=False)
class TokenHolder:
    """Gives one token to any number of callers, and makes one attempt serve them all.

    The attempt takes the place of a lock: it is a task of the holder, which no caller can cancel. Each caller waits for
    its result on a future of its own, so that a cancelled caller does not affect the others. A failure is a result
    like a token, and is shared like one.

    Args:
        state: of the account.
        minter: gets new tokens.
        policy: the numbers.
        clock: the only source of time.
        announcer: called with everything that happens to the token.
    """

    state: AccountState
    _minter: Minter
    _policy: TokenPolicy
    _clock: Clock
    announcer: Announcer
    now: Callable[[], float] = attrs.field(init=False)
    # A token that was fresh a moment ago: readers return it without looking at the clock.
    fast_token: AccessToken | None = attrs.field(init=False, default=None)
    _fast_token_timer: asyncio.TimerHandle | None = attrs.field(init=False, default=None)
    _attempt: asyncio.Task[AttemptResult] | None = attrs.field(init=False, default=None)
    _began: float = attrs.field(init=False, default=0.0)
    # Whether callers have stopped waiting for the running attempt, whose answer is still used.
    _is_overdue: bool = attrs.field(init=False, default=False)
    # Whether the running attempt has kept its token, so that a cancellation, by on_event for example, is too late.
    _has_token: bool = attrs.field(init=False, default=False)
    # Whether the running attempt takes the place of one that was cancelled from outside.
    _is_second_try: bool = attrs.field(init=False, default=False)
    _waiters: list[asyncio.Future[AttemptResult]] | None = attrs.field(init=False, default=None)
    _closed: bool = attrs.field(init=False, default=False)
    # When a token was last read, to the second.
    read_at: float = attrs.field(init=False, default=0.0)
    loop: asyncio.AbstractEventLoop = attrs.field(init=False)
    _http: aiohttp.ClientSession | None = attrs.field(init=False)
    _refresher: Refresher = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.now = self._clock.now
        self._minter.on_overdue = self._overdue

    def open(self, http: aiohttp.ClientSession | None, *, in_background: bool = True) -> None:
        """Start on the running loop. Mints use `http`; without it, each opens a connection."""
        self.loop = asyncio.get_running_loop()
        self._http = http
        self._refresher = Refresher(self, self._clock, self.state.log, enabled=in_background)

    # Reading

    async def token(self) -> AccessToken:
        """Return a token that may be sent.

        Raises:
            TokenError: no token was obtained. Until its ``retry_at`` the same error is raised without a new attempt.
            StoreRefusedError: the store must be repaired first.
            SessionClosedError: the session was closed.
        """
        while True:
            if (token := self._usable()) is not None:
                return token
            if (token := _unwrap(await self._attempted())) is not None:
                return token

    def _attempted(self) -> asyncio.Future[AttemptResult]:
        """Return a future for the running attempt, starting one if needed. Raises the last failure until its time."""
        if self._closed:
            raise SessionClosedError("the session is closed: make a new VBCSession")
        is_waiting = self._attempt is not None and not self._is_overdue
        if not is_waiting and (error := self.state.blocking_error(self.now())) is not None:
            raise error
        if self._attempt is None:
            self._start(RefreshMode.MANDATORY)
        waiter: asyncio.Future[AttemptResult] = self.loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        return waiter

    def _usable(self) -> AccessToken | None:
        current = self.state.current
        if current is None:
            return None
        self.read_at = now = self.now()
        if now >= current.unusable_after:
            return None
        self.state.used = True
        if now < current.refresh_after:
            self._set_fast_token(current.token)
        elif self._is_dormant and self.state.refresh_at(now) != NEVER:
            self._refresher.wake()
        return current.token

    def _set_fast_token(self, token: AccessToken) -> None:
        """Let readers skip the clock for a second, or for a tenth of the margin before the token's end if shorter."""
        if self.fast_token is not None:
            return
        self.fast_token = token
        margin = self._policy.expiry_margin.total_seconds()
        self._fast_token_timer = self.loop.call_later(min(1.0, margin / 10), self._clear_fast_token)

    def _clear_fast_token(self) -> None:
        self.fast_token = None
        if self._fast_token_timer is not None:
            self._fast_token_timer.cancel()
            self._fast_token_timer = None

    # The attempt

    def _start(self, mode: RefreshMode) -> asyncio.Task[AttemptResult]:
        grace = self.close_grace
        self._has_token = False
        self._began = self.now()
        self._attempt = GracefulTask(self._run(mode), loop=self.loop, grace=grace, name="truecaller_vbc attempt")
        self._attempt.add_done_callback(self._deliver)
        return self._attempt

    def _deliver(self, attempt: asyncio.Task[AttemptResult]) -> None:
        self._attempt, self._is_overdue = None, False
        self._settle(attempt)
        if self._attempt is None:
            self._refresher.wake()
            self._tell_pool()

    def _settle(self, attempt: asyncio.Task[AttemptResult]) -> None:
        if not attempt.cancelled():
            self._is_second_try = False
            error = attempt.exception()  # such as a KeyboardInterrupt, which the loop raises as well
            if error is not None:
                self.state.log.error("an attempt to get a token was ended by %s", type(error).__name__)
            self._release(self._bug() if error is not None else attempt.result())
        elif self._closed:
            self._release(_closed_during_mint())
        elif self._has_token:
            self._is_second_try = False
            self._release(None)  # callers take the token that it has kept
        elif not self._is_second_try and any(not waiter.done() for waiter in self._waiters or ()):
            # Cancelled by other code (all tasks of the loop, for example) while callers are waiting.
            self._is_second_try = True
            self._start(RefreshMode.MANDATORY)
        else:
            self._is_second_try = False
            self._release(self._failed(self._fail("was cancelled from outside: it is tried again after retry_at")))

    def _release(self, result: AttemptResult) -> None:
        """Give the result to all waiting callers."""
        waiters, self._waiters = self._waiters or (), None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(result)

    def _overdue(self, error: TokenError) -> None:
        """Release the callers although the attempt goes on."""
        self._failed(error)
        self._is_overdue = True
        self._release(error)

    def _bug(self) -> TokenError:
        return self._failed(self._fail("failed in an unexpected way: see the log of truecaller_vbc"))

    def _fail(self, what: str) -> TokenError:
        now = self.now()
        error = TokenEndpointError(f"an attempt to get a token {what}")
        return self.state.fail(error, now, self._clock.wall() - now, shared=False)

    async def _run(self, mode: RefreshMode) -> AttemptResult:
        is_growing = mode is RefreshMode.GROW
        try:
            token = await self._minter.obtain(self._http, mode)
        except RefreshDeferred as deferred:
            (self._grow_after if is_growing else self.state.postpone_refresh)(deferred.until)
            return None
        except TokenError as error:
            return self._failed(error, is_growing=is_growing)
        except StoreRefusedError as error:
            error.__traceback__ = None
            return error
        except (Exception, asyncio.CancelledError) as error:
            reraise_if_cancelled(error)
            self.state.log.exception("an attempt to get a token failed unexpectedly (a bug)")
            return self._bug()
        # Foreign code swallowed the cancellation by `close`.
        return _closed_during_mint() if self._closed else self._keep(token, is_growing=is_growing)

    def _grow_after(self, at: float) -> None:
        """Ask for a further token again at a time, and at least a moment later, so that no mint is tried in a loop."""
        pool = self.state.pool
        assert pool is not None  # noqa: S101 - only a pool grows
        wait = max(at - self.now(), self._policy.retry_first.total_seconds())
        pool.grow_at = self.now() + wait
        pool.cancel_timer()
        pool.timer = self.loop.call_later(wait, self._tell_pool)

    def _tell_pool(self) -> None:
        if self.state.pool is not None and not self._closed:
            self.state.pool.tell()

    def _keep(self, current: CurrentToken, *, is_growing: bool) -> AccessToken | None:
        """Make it the current token. Return None if it has ended since the answer, because the process was stopped."""
        now = self.now()
        if is_growing and current.repeated:
            # The server returns the token that it gave before: another mint would not help.
            self._grow_after(now + self._policy.lifetime.total_seconds())
            return current.token
        # Callers are reading at this very moment: they go on with the new token and need not set it again.
        busy = self.fast_token is not None and now < current.refresh_after
        if busy:
            self.fast_token = current.token
        else:
            self._clear_fast_token()
        if self.state.pool is not None:
            self.state.pool.obtained_at = self.loop.time()
        # Waiting callers will use it; otherwise only later reads count as use.
        self.state.keep(current, now, used=is_growing or busy or bool(self._waiters))
        self._has_token = True
        token = current.token
        if current.adopted:
            self.announcer(TokenAdopted(token.fingerprint, current.generation, token.expires_at))
        else:
            left = self.state.mints_left(now)
            took = now - self._began
            self.announcer(TokenMinted(token.fingerprint, current.generation, token.expires_at, left, seconds=took))
        return token if now < current.unusable_after else None

    def _failed(self, error: TokenError, *, is_growing: bool = False) -> TokenError:
        # The error is kept and shared, so its frames would never be freed.
        error.__traceback__ = None
        if self._is_overdue:
            return error  # reported when callers stopped waiting
        now = self.now()
        if self.state.usable(now) is None:
            self.announcer(MintFailed(error, seconds=now - self._began))
            return error
        if is_growing:
            self._grow_after(self.state.growth_retry_at(now))
        elif not isinstance(error, CredentialsRejectedError):
            self.state.refresh_failed(now)
        at = next_refresh(self._next_refresh_at(now), self._clock.wall() - now)
        self.announcer(RefreshFailed(error, at, seconds=now - self._began))
        return error

    # Refreshing, called by the background task

    def refresh_at(self) -> float:
        """Return when to refresh, on `Clock.now`."""
        return self.state.refresh_at(self.now())

    @property
    def unsaved(self) -> bool:
        """Whether the store has missed something."""
        return self._minter.unsaved

    def refresh(self) -> None:
        """Start a refresh, which does not count as use, unless an attempt is running."""
        if self._attempt is None:
            self._start(RefreshMode.ADVISORY)

    async def save_back(self) -> None:
        """Write to the store what it missed while it was down."""
        await self._minter.save_back()

    # The pool, used by the pace of typed calls

    @property
    def listeners(self) -> list[Callable[[], object]]:
        """What to call when an attempt has ended."""
        assert self.state.pool is not None  # noqa: S101 - only a pool has listeners
        return self.state.pool.listeners

    @property
    def patience(self) -> float:
        """`TokenPolicy.pool_wait` in seconds."""
        return self._policy.pool_wait.total_seconds()

    def live_tokens(self) -> list[AccessToken]:
        """Return all tokens that may be sent, newest first. It counts as use."""
        self.state.used = True
        return self.state.live(self.now())

    def unproven(self) -> AccessToken | None:
        """Return an older token that the API has not accepted beside the newer one; None if there is no doubt."""
        return self.state.unproven(self.now())

    def grow(self) -> None:
        """Start to mint a further token, if the policy and the quota allow it and none is being minted."""
        if self._attempt is None and not self._closed and self.state.has_room(self.now()):
            self._start(RefreshMode.GROW)

    # Rejection, called by the transport

    def accepted(self, token: AccessToken, sent: float = -NEVER) -> None:
        """Note that the API accepted this token, and when it was sent, on the event loop's clock."""
        self.state.rejections.accept(token, self.state.current, sent, self.now)

    async def rejected(self, token: AccessToken) -> bool:
        """Judge a token that the API rejected. Return whether sending the request again with another one may help.

        While a mint is under way, it is waited for: where each new token ends the one before, the current token is dead
        between the server's grant and its answer.
        """
        if self._attempt is not None and not self._is_overdue and self.state.is_live(token):
            await self._attempted()
        if self._closed:
            return False
        return await self._follow(self.state.reject(token, self.now()), token)

    async def _follow(self, verdict: Rejection, token: AccessToken) -> bool:
        """Do what a verdict on a rejected token says. Return whether another token may help."""
        if verdict is Rejection.OUTDATED:
            return True
        if verdict is Rejection.DROPPED:
            self._clear_fast_token()
        self.announcer(TokenRejected(token.fingerprint, replaced=verdict is Rejection.DROPPED))
        if verdict is Rejection.TOO_NEW:
            return self.state.rejections.previous_for(token, self.state.current, self.now()) is not None
        if verdict is Rejection.SPENT:
            await self._attempted()
            current = self.state.current
            return current is not None and current.token.value != token.value
        return verdict is not Rejection.KEPT

    def replacement_accepted(self, rejected: AccessToken, token: AccessToken) -> None:
        """Note that the API accepted the token with which a request was sent again."""
        pool = self.state.pool
        if pool is None or not pool.holds(rejected.value):
            return
        if self.state.judge_older(rejected, token, self.now()):
            self.announcer(PoolEnded(rejected.fingerprint))
        # Other processes are told at once which older tokens may be used.
        self._minter.save_later()
        self._refresher.wake()

    async def replacement_rejected(self, rejected: AccessToken, token: AccessToken) -> bool:
        """Judge a token with which a request was sent again, and which the API rejected as well.

        Return whether sending it once more may help: only for a pool, if both an older token and the current one are
        dead.
        """
        current = self.state.current
        if self.state.pool is not None and (
            current is None or current.token.value not in (rejected.value, token.value)
        ):
            return True  # one of them was the current token, and has been rejected and replaced meanwhile
        verdict = self.state.reject_both(rejected, token, self.now())
        if verdict is None or current is None or (verdict is Rejection.TOO_NEW and not current.accepted):
            self.state.rejections.reject_replacement(token, current, self.now())
            return False
        return verdict is not Rejection.TOO_NEW and await self._follow(verdict, current.token)

    async def replacement(self, rejected: AccessToken) -> AccessToken:
        """Return another token than the rejected one.

        Raises:
            TokenError: no token was obtained.
        """
        if (previous := self.state.rejections.previous_for(rejected, self.state.current, self.now())) is not None:
            return previous
        return await self.token()

    # Reporting

    def status(self) -> TokenStatus:
        """Return a snapshot, without any I/O."""
        now = self.now()
        return snapshot(self.state, now, self._clock.wall() - now, self._next_refresh_at(now))

    def _next_refresh_at(self, now: float) -> float:
        at = self.state.refresh_at(now)
        return NEVER if at == NEVER or self._is_dormant else at

    @property
    def _is_dormant(self) -> bool:
        return self._attempt is None and self._refresher.dormant

    def ledger(self) -> tuple[LedgerEntry, ...]:
        """Return the attempts of the last window."""
        now = self.now()
        return entries(self.state, now, self._clock.wall() - now)

    @property
    def account_id(self) -> str | None:
        """The account's ID; None until the credentials callable was first called."""
        credentials = self.state.credentials
        return credentials.client_account_id if credentials else None

    # Closing

    def is_idle(self, seconds: float) -> bool:
        """Return whether no token was read for that long, and none is being minted."""
        return self._attempt is None and self.now() - self.read_at >= seconds

    @property
    def close_grace(self) -> float:
        """`TokenPolicy.close_grace` in seconds."""
        return self._policy.close_grace.total_seconds()

    def disown(self) -> None:
        """Stop the background of a copy in a forked process."""
        self.fast_token = None
        self._refresher.disable()

    async def close(self, *, with_the_loop: bool = False) -> None:
        """Stop everything. Waiting callers get `SessionClosedError` at once.

        A token request in flight may be answered for `TokenPolicy.close_grace`, so that its token reaches the store.

        Args:
            with_the_loop: whether the event loop ends, which starts no async generators any more.
        """
        self._closed = True
        self._clear_fast_token()
        if self.state.pool is not None:
            self.state.pool.cancel_timer()
        self.state.drop()
        self._release(_closed_during_mint())
        await self._refresher.stop()
        if (attempt := self._attempt) is not None:
            attempt.cancel()
            await asyncio.wait([attempt])
        if not with_the_loop and (grace := self.close_grace):
            # The store may work again, and has missed a token that has been paid for.
            with contextlib.suppress(TimeoutError):
                async with timeout(grace):
                    await self._minter.save_back()


def _closed_during_mint() -> SessionClosedError:
    return SessionClosedError("the session was closed while a token was being minted")


def _unwrap(result: AttemptResult) -> AccessToken | None:
    """Return the token of a result; raise its error as an exception of the caller's own."""
    if isinstance(result, VBCError):
        raise fresh_copy(result)
    return result
