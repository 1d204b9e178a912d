"""Break, one place at a time, what keeps the accounts of a process apart."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs
import pytest

from truecaller_vbc.token.exchange import Exchange
from truecaller_vbc.token.minter import Minter

from .settings import Pools, Settings

Mutation: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def counts_all_accounts_together(patch: pytest.MonkeyPatch) -> None:
    """Keep one document, and so one ledger, for all accounts."""
    patch.setattr(Minter, "_key", property(lambda _: "one for all"))


def shares_tokens_between_accounts(patch: pytest.MonkeyPatch) -> None:
    """Keep one document for all accounts, and one token in it."""
    patch.setattr(Minter, "_key", property(lambda _: "one for all"))
    patch.setattr(Exchange, "_key", property(lambda _: "one for all"))


def accounts_everywhere(patch: pytest.MonkeyPatch) -> None:
    """Let every process have three accounts in one store."""
    drawn = Settings.drawn
    patch.setattr(Settings, "drawn", lambda rng: attrs.evolve(drawn(rng), shared=True, clocks_apart=False))
    patch.setattr(Pools, "drawn", lambda seed: Pools(random.Random(seed), tokens=1, accounts=3, calm=False))


ACCOUNT_MUTATIONS: Final[dict[Mutation, str]] = {
    counts_all_accounts_together: "no call lacks a token",
    shares_tokens_between_accounts: "accounts are apart",
}
"""The invariant that each mutation violates."""
