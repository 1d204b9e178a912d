"""Define every number of a token's life in one place."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs

from ..durations import check_positive, duration, scaled
from ..errors import ConfigurationError

_MIN_MINT_TIMEOUT: Final = timedelta(seconds=2)
_MAY_BE_ZERO: Final = frozenset(
    {"refresh_jitter", "expiry_margin", "rejection_grace", "close_grace", "adoption_delay", "pool_wait"}
)
_MIN_CLOSE_GRACE: Final = timedelta(seconds=2)


@attrs.frozen(kw_only=True)
class TokenPolicy:
    """How tokens are minted, kept and given up. Durations are timedeltas (numbers are taken as seconds).

    The defaults follow the API reference, "Rate limits": a token lives 60 minutes and 10 are granted in 30.

    Args:
        lifetime: how long a token lives. 60 min.
        refresh_ahead: how long before its end a token becomes stale and is refreshed. 15 min.
        refresh_jitter: up to this much earlier, drawn at random for each token, so that the processes of a fleet do not
            refresh at the same time. 5 min.
        expiry_margin: how long before its end a token stops being returned. 10 s.
        max_mints: tokens that the server grants in one `mint_window`. 10.
        mint_window: the server's window. 30 min.
        reserve_mints: mints that a refresh may not spend; they are kept for callers without a usable token. 3.
        mint_timeout: the deadline of one token request, never under 2 s when scaled. 15 s.
        rejection_grace: a token rejected this soon after it was obtained is not replaced. 30 s.
        error_memory: how long rejected credentials are remembered, doubled each time up to
            `mint_window`. 60 s.
        retry_first: a caller's first wait after a failed attempt, doubled each time. 1 s.
        retry_most: a caller's longest wait. 60 s.
        close_grace: how long `close`, or the end of the event loop, waits for a token request in flight, so that a
            token that has been paid for reaches the store; 0 for not at all. 2 s, and never less when scaled.
        adoption_delay: how long a session that found a stale token in the store waits before it refreshes it, so that
            short scripts leave that to others. 30 s.
        refresh_retry: the background's first wait after a failed refresh, doubled each time. 1 min.
        tokens: how many tokens of the account may live at once, at most `max_mints` less `reserve_mints`. The typed
            calls of a session are paced by token, so each further one adds its rates. 1.
        pool_wait: a further token is minted when a call would wait for its turn for longer than that. 2 s.

    Raises:
        ConfigurationError: a value is of the wrong type or the values contradict each other.
    """

    lifetime: timedelta = attrs.field(default=timedelta(minutes=60), converter=duration)
    refresh_ahead: timedelta = attrs.field(default=timedelta(minutes=15), converter=duration)
    refresh_jitter: timedelta = attrs.field(default=timedelta(minutes=5), converter=duration)
    expiry_margin: timedelta = attrs.field(default=timedelta(seconds=10), converter=duration)
    max_mints: int = 10
    mint_window: timedelta = attrs.field(default=timedelta(minutes=30), converter=duration)
    reserve_mints: int = 3
    mint_timeout: timedelta = attrs.field(default=timedelta(seconds=15), converter=duration)
    rejection_grace: timedelta = attrs.field(default=timedelta(seconds=30), converter=duration)
    error_memory: timedelta = attrs.field(default=timedelta(seconds=60), converter=duration)
    retry_first: timedelta = attrs.field(default=timedelta(seconds=1), converter=duration)
    retry_most: timedelta = attrs.field(default=timedelta(seconds=60), converter=duration)
    refresh_retry: timedelta = attrs.field(default=timedelta(minutes=1), converter=duration)
    close_grace: timedelta = attrs.field(default=timedelta(seconds=2), converter=duration)
    adoption_delay: timedelta = attrs.field(default=timedelta(seconds=30), converter=duration)
    tokens: int = 1
    pool_wait: timedelta = attrs.field(default=timedelta(seconds=2), converter=duration)

    def __attrs_post_init__(self) -> None:
        for name in ("max_mints", "reserve_mints", "tokens"):
            if type(getattr(self, name)) is not int:
                raise ConfigurationError(f"TokenPolicy({name}=...) must be an int")
        check_positive(self, _MAY_BE_ZERO)
        if self.max_mints < 1 or not 0 <= self.reserve_mints < self.max_mints:
            raise ConfigurationError(
                "TokenPolicy needs max_mints >= 1 and 0 <= reserve_mints < max_mints: "
                "with nothing above the reserve no token would ever be refreshed"
            )
        if not 1 <= self.tokens <= self.max_mints - self.reserve_mints:
            raise ConfigurationError(
                "TokenPolicy needs 1 <= tokens <= max_mints - reserve_mints: no more can be minted"
            )
        if self.refresh_ahead + self.refresh_jitter >= self.lifetime:
            raise ConfigurationError(
                "TokenPolicy needs refresh_ahead + refresh_jitter < lifetime: a token would be stale when minted"
            )
        if self.expiry_margin >= self.refresh_ahead:
            raise ConfigurationError(
                "TokenPolicy needs expiry_margin < refresh_ahead: a token would expire before its refresh"
            )
        if self.retry_first > self.retry_most:
            raise ConfigurationError("TokenPolicy needs retry_first <= retry_most")

    @property
    def usable_for(self) -> timedelta:
        """How long a token is returned to callers (`lifetime` less `expiry_margin`)."""
        return self.lifetime - self.expiry_margin

    @property
    def fresh_for(self) -> timedelta:
        """The age below which no token is stale, whatever its jitter (`lifetime` less ahead and jitter)."""
        return self.lifetime - self.refresh_ahead - self.refresh_jitter

    @property
    def lease(self) -> timedelta:
        """How long a store's lease lasts (twice `mint_timeout`, so that it ends after any mint)."""
        return 2 * self.mint_timeout

    def scaled(self, factor: float) -> TokenPolicy:
        """Return the policy with every duration multiplied by `factor`, for demos and tests.

        Counts stay, and `mint_timeout` and `close_grace` never fall below 2 s: a real token request takes as long as
        before, and one that is lost counts as a mint. A `close_grace` that is shorter already stays as it is.

        Raises:
            ConfigurationError: `factor` is not a positive finite number.
        """
        shorter = scaled(self, factor)
        return attrs.evolve(
            shorter,
            mint_timeout=max(shorter.mint_timeout, _MIN_MINT_TIMEOUT),
            close_grace=max(shorter.close_grace, min(self.close_grace, _MIN_CLOSE_GRACE)),
        )
