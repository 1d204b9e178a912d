"""Draw at random what does not change during a simulation."""

from __future__ import annotations

import random
from typing import TypeVar

import attrs

from truecaller_vbc.sandbox import SandboxRules

T = TypeVar("T")


@attrs.frozen
class Settings:
    """What does not change during a simulation.

    Args:
        sandbox: rules of the server.
        shared: whether the sessions share one store.
        file: whether stores are files.
        vault: whether credentials come from a callable.
        most_sessions: maximum number of open sessions.
        clocks_apart: whether each machine's wall clock is off by up to an hour.
        store_clock: whether the store has a clock of its own, which is right.
    """

    sandbox: SandboxRules
    shared: bool
    file: bool
    vault: bool
    most_sessions: int
    clocks_apart: bool
    store_clock: bool

    @property
    def agree_on_time(self) -> bool:
        """Whether sessions that share a store know the same time, so that each counts what the others did."""
        return self.store_clock or not self.clocks_apart

    @property
    def clock_error(self) -> float:
        """How far a session may be wrong about the times of others: clocks that differ by a minute are not doubted."""
        return 0.0 if self.agree_on_time else 60.0

    @classmethod
    def drawn(cls, rng: random.Random) -> Settings:
        """Draw every switch of the sandbox at random, the documented value most often."""

        def either(usual: T, *others: T) -> T:
            return usual if rng.random() < 0.6 else rng.choice(others)

        rules = SandboxRules(
            token_lifetime=either(3600.0, 900.0, 2600.0, 7200.0),
            window=either("sliding", "fixed"),
            over_quota=either("429", "429-retry-after", "400", "403"),
            count_failed=rng.random() < 0.15,
            revoke_previous=rng.random() < 0.25,
            dead_token=either("401", "500", "401-flat"),
            reuse_token=rng.random() < 0.2,
            reuse_until=either(0.0, 60.0, 1800.0),
            rejected_credentials=either(401, 400, 403, 404),
            latency=either(0.0, 0.05, 2.0),
            token_latency=either(0.0, 0.2, 4.0),
            date_header=rng.random() < 0.8,
            created_at=either("iso", "garbage", "missing"),
        )
        return cls(
            rules,
            shared=rng.random() < 0.7,
            file=rng.random() < 0.3,
            vault=rng.random() < 0.4,
            most_sessions=rng.choice((1, 1, 2, 3, 5)),
            clocks_apart=rng.random() < 0.4,
            store_clock=rng.random() < 0.4,
        )


@attrs.frozen
class Pools:
    """How many tokens the sessions of a simulation may have, and how many accounts there are.

    Args:
        rng: of its own, so that simulations of one token and one account go on as they did.
        tokens: number for most sessions; 1 in most simulations.
        accounts: of each process; 1 in most simulations.
        calm: whether faults are rare, so that pools grow to their size.
    """

    rng: random.Random
    tokens: int
    accounts: int
    calm: bool

    @classmethod
    def drawn(cls, seed: int) -> Pools:
        rng = random.Random(f"tokens of {seed}")
        tokens = rng.choices((1, 2, 3, 5), (6, 1, 2, 1))[0]
        accounts = rng.choices((1, 2, 3, 4), (8, 1, 1, 1))[0]
        return cls(rng, tokens, accounts, calm=tokens > 1 and rng.random() < 0.4)

    def size_for_next(self) -> int:
        """Return the number for the next session: some processes of a fleet have one token only."""
        return self.tokens if self.tokens == 1 or self.rng.random() < 0.85 else 1
