"""The form of a scenario: JSON to values, and no key that means nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeAlias

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

Number: TypeAlias = Any
"""An expected number: itself, or ``[least, most]``, or null where there must be none."""


class ScenarioError(Exception):
    """The scenario says something that has no meaning."""


def _number(_: object, attribute: Any, value: object) -> None:
    if not is_number(value):
        raise ScenarioError(f"{attribute.name}: a number, [least, most] or null is needed, not {value!r}")


def is_number(value: object) -> bool:
    """Whether this is an expected number."""
    match value:
        case None | int() | float():
            return not isinstance(value, bool)
        case [int() | float() as least, int() | float() as most]:
            return least <= most
        case _:
            return False


@attrs.frozen(kw_only=True)
class Draws:
    """Random numbers in [0, 1], used in this order, the last again and again."""

    refresh: list[float] = attrs.field(factory=lambda: [0.0])
    backoff: list[float] = attrs.field(factory=lambda: [0.5])
    poll: list[float] = attrs.field(factory=lambda: [0.0])


@attrs.frozen(kw_only=True)
class Answer:
    """One answer of the token endpoint, or none."""

    connection: Literal["ok", "refused", "unreachable", "lost", "hangs"] = "ok"
    status: int = 200
    mints: bool | None = None
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
    """The other side: its rules, and what it does out of the ordinary."""

    latency: float = 0.2
    answers: list[Answer] = attrs.field(factory=list[Answer])
    then: Answer = attrs.field(factory=Answer)
    token_lifetime: float = 3600.0
    max_mints: int = 10
    mint_window: float = 1800.0
    api_key: str = "right"
    dead_token: Literal["401", "500"] = "401"
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
    """What the store has."""

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


def _one_process() -> list[Process]:
    return [Process()]


@attrs.frozen(kw_only=True)
class Given:
    """The world before the first step."""

    policy: dict[str, float] = attrs.field(factory=dict[str, float])
    draws: Draws = attrs.field(factory=Draws)
    server: Server = attrs.field(factory=Server)
    store: Contents | None = None
    processes: list[Process] = attrs.field(factory=_one_process)


@attrs.frozen(kw_only=True)
class Outcome:
    """What the callers of a step are expected to get."""

    outcome: Any = attrs.field()
    took: Number = attrs.field(default="any")
    retry_at: Number = attrs.field(default="any")

    @took.validator
    @retry_at.validator
    def _check(self, attribute: Any, value: object) -> None:
        if value != "any":
            _number(self, attribute, value)

    @outcome.validator
    def _check_outcome(self, attribute: Any, value: object) -> None:
        if isinstance(value, dict):
            for count in value.values():
                _number(self, attribute, count)
        elif not isinstance(value, str):
            raise ScenarioError(f"outcome: a name, or names with their counts, not {value!r}")


@attrs.frozen(kw_only=True)
class Cancel:
    """Callers who leave early."""

    callers: int
    after: float


@attrs.frozen(kw_only=True)
class Step:
    """What happens, and when."""

    does: ClassVar[str]
    at: float | None = None


@attrs.frozen(kw_only=True)
class Ask(Step):
    """Callers want something."""

    process: str = "main"
    callers: int = 1
    cancel: Cancel | None = None
    every: float | None = None
    until: float | None = None
    expect: Outcome | None = None


@attrs.frozen(kw_only=True)
class AskToken(Ask):
    """Callers want a token."""

    does = "token"


@attrs.frozen(kw_only=True)
class AskAPI(Ask):
    """Callers call the API."""

    does = "call"
    body: Literal["none", "json", "stream"] = "none"


@attrs.frozen(kw_only=True)
class Advance(Step):
    """Time passes."""

    does = "advance"
    seconds: float


@attrs.frozen(kw_only=True)
class ChangeServer(Step):
    """The token endpoint is of another mind."""

    does = "server"
    answers: list[Answer] | None = None
    then: Answer | None = None
    latency: float | None = None
    api_key: str | None = None
    max_mints: int | None = None


@attrs.frozen(kw_only=True)
class ChangeAPI(Step):
    """The API is of another mind."""

    does = "api"
    statuses: list[int] | None = None
    then: int | None = None
    latency: float | None = None


@attrs.frozen(kw_only=True)
class Revoke(Step):
    """The server ends tokens before their time."""

    does = "revoke"
    tokens: list[str] | None = None


@attrs.frozen(kw_only=True)
class StepWall(Step):
    """Somebody sets a wall clock."""

    does = "step_wall"
    seconds: float
    process: str | None = None


@attrs.frozen(kw_only=True)
class Suspend(Step):
    """The machines sleep."""

    does = "suspend"
    seconds: float


@attrs.frozen(kw_only=True)
class ChangeStore(Step):
    """Something happens to the store."""

    does = "store"
    trouble: Literal["none", "down", "hangs", "read_only", "refuses"] | None = None
    process: str | None = None
    leased_for: float | None = None
    contents: Contents | None = None


@attrs.frozen(kw_only=True)
class Open(Step):
    """A process starts."""

    does = "open"
    process: Process


@attrs.frozen(kw_only=True)
class Close(Step):
    """A process ends in an orderly way."""

    does = "close"
    process: str = "main"


@attrs.frozen(kw_only=True)
class Kill(Step):
    """A process dies on the spot."""

    does = "kill"
    process: str = "main"


@attrs.frozen(kw_only=True)
class Look(Step):
    """Nothing happens; expectations are checked."""

    does = "look"
    expect: dict[str, Any]


STEPS: Final[dict[str, type[Step]]] = {
    kind.does: kind
    for kind in (
        AskToken,
        AskAPI,
        Advance,
        ChangeServer,
        ChangeAPI,
        Revoke,
        StepWall,
        Suspend,
        ChangeStore,
        Open,
        Close,
        Kill,
        Look,
    )
}


@attrs.frozen(kw_only=True)
class Report:
    """What a runner must say of a scenario that is wrong on purpose. Step 0 is the end."""

    step: int
    what: str


@attrs.frozen(kw_only=True)
class Scenario:
    """One scenario."""

    name: str
    why: str
    given: Given = attrs.field(factory=Given)
    steps: list[Step]
    expected: dict[str, Any]
    reports: list[Report] = attrs.field(factory=list[Report])


@attrs.frozen(kw_only=True)
class Family:
    """One file."""

    family: str
    why: str
    scenarios: list[Scenario]


def load(path: Path) -> Family:
    """The scenarios of one file.

    Raises:
        ScenarioError: it is not of the form.
    """
    return structure(json.loads(path.read_text()), path.name)


def structure(family: object, name: str) -> Family:
    """As `load`, of JSON that was read already."""
    try:
        return _converter().structure(family, Family)
    except (cattrs.BaseValidationError, ScenarioError) as error:
        raise ScenarioError(f"{name}: {'; '.join(cattrs.transform_error(error))}") from error


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    bodies = {kind: make_dict_structure_fn(kind, converter) for kind in STEPS.values()}

    def step(value: dict[str, Any], _: object) -> Step:
        fields = dict(value)
        kind = STEPS.get(fields.pop("do", ""))
        if kind is None:
            raise ScenarioError(f"do: one of {', '.join(STEPS)} is needed, not {value.get('do')!r}")
        return bodies[kind](fields, kind)

    converter.register_structure_hook(Step, step)
    return converter
