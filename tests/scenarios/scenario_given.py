"""Define the state before the first step (server, store, processes, random numbers)."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from truecaller_vbc import TokenPolicy

from .scenario_values import ScenarioError


@attrs.frozen(kw_only=True)
class Draws:
    """Random numbers in [0, 1], used in this order; the last one is repeated."""

    refresh: list[float] = attrs.field(factory=lambda: [0.0])
    backoff: list[float] = attrs.field(factory=lambda: [0.5])
    poll: list[float] = attrs.field(factory=lambda: [0.0])


@attrs.frozen(kw_only=True)
class Answer:
    """One answer of the token endpoint, or a failure to answer."""

    connection: Literal["ok", "refused", "unreachable", "lost", "hangs"] = "ok"
    status: int = 200
    token: Literal["new", "same"] = "new"
    age: float = 0.0
    created_at: str | None = "stamp"
    date: bool = True
    body: Any = None
    text: str | None = None
    padding: int = 0
    retry_after: str | None = None
    retry_after_date: float | None = None
    latency: float | None = None


@attrs.frozen(kw_only=True)
class Server:
    """The server's rules, and its special answers."""

    latency: float = 0.2
    answers: list[Answer] = attrs.field(factory=list[Answer])
    then: Answer = attrs.field(factory=Answer)
    token_lifetime: float = 3600.0
    max_mints: int = 10
    mint_window: float = 1800.0
    api_key: str = "right"
    dead_token: Literal["401", "500"] = "401"
    revoke_previous: bool = False
    tokens: dict[str, float] = attrs.field(factory=dict[str, float])


@attrs.frozen(kw_only=True)
class StoredToken:
    """A token in the store."""

    value: str
    starts_at: float
    generation: int = 1


@attrs.frozen(kw_only=True)
class StoredAttempt:
    """An entry of the stored ledger."""

    at: float
    outcome: str = "minted"


@attrs.frozen(kw_only=True)
class StoredFailure:
    """A shared failure."""

    error: str
    retry_at: float
    count: int = 1
    api_key: str | None = None


@attrs.frozen(kw_only=True)
class Contents:
    """The contents of the store."""

    key_id: str = "key"
    token: StoredToken | None = None
    attempts: list[StoredAttempt] = attrs.field(factory=list[StoredAttempt])
    failure: StoredFailure | None = None
    full_until: float | None = None
    raw: str | None = None


@attrs.frozen(kw_only=True)
class Process:
    """One client process."""

    name: str = "main"
    key_id: str = "key"
    api_key: str = "right"
    vault: list[str] = attrs.field(factory=list[str])
    wall_offset: float = 0.0
    tokens: int | None = None


def _names_of_the_policy(_: object, __: object, value: dict[str, Any]) -> None:
    known = {field.name for field in attrs.fields(TokenPolicy)}
    if not known.issuperset(value):
        raise ScenarioError(f"policy: one of {', '.join(sorted(known))} is needed, not {sorted(value.keys() - known)}")


def _one_process() -> list[Process]:
    return [Process()]


@attrs.frozen(kw_only=True)
class Given:
    """The state before the first step."""

    policy: dict[str, Any] = attrs.field(factory=dict[str, Any], validator=_names_of_the_policy)
    draws: Draws = attrs.field(factory=Draws)
    server: Server = attrs.field(factory=Server)
    store: Contents | None = None
    store_clock: float | None = None
    processes: list[Process] = attrs.field(factory=_one_process)
