"""Define the steps of a scenario, and what its callers should get."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import attrs

from .scenario_given import Answer, Contents, Process
from .scenario_values import Number, ScenarioError, check_number

ANYTHING: Final = "any"


@attrs.frozen(kw_only=True)
class Outcome:
    """What the callers of a step should get."""

    outcome: Any = attrs.field()
    took: Number = attrs.field(default=ANYTHING)
    retry_at: Number = attrs.field(default=ANYTHING)

    @took.validator
    @retry_at.validator
    def _check(self, attribute: Any, value: object) -> None:
        if value != ANYTHING:
            check_number(self, attribute, value)

    @outcome.validator
    def _check_outcome(self, attribute: Any, value: object) -> None:
        if isinstance(value, dict):
            for count in value.values():
                check_number(self, attribute, count)
        elif not isinstance(value, str):
            raise ScenarioError(f"outcome: a name, or names with their counts, not {value!r}")


@attrs.frozen(kw_only=True)
class Cancel:
    """Callers that are cancelled."""

    callers: int
    after: float


@attrs.frozen(kw_only=True)
class Step:
    """One step and its time."""

    does: ClassVar[str]
    at: float | None = None


@attrs.frozen(kw_only=True)
class Ask(Step):
    """Callers call a process."""

    process: str = "main"
    callers: int = 1
    cancel: Cancel | None = None
    every: float | None = None
    until: float | None = None
    expect: Outcome | None = None


@attrs.frozen(kw_only=True)
class AskToken(Ask):
    """Callers ask for a token."""

    does = "token"


@attrs.frozen(kw_only=True)
class AskAPI(Ask):
    """Callers call the API."""

    does = "call"
    body: Literal["none", "json", "stream"] = "none"
    token: str | None = None


@attrs.frozen(kw_only=True)
class Grow(Step):
    """Typed calls want a further token beside those that live."""

    does = "grow"
    process: str = "main"


@attrs.frozen(kw_only=True)
class Advance(Step):
    """Time passes."""

    does = "advance"
    seconds: float


@attrs.frozen(kw_only=True)
class ChangeServer(Step):
    """The token endpoint changes its answers."""

    does = "server"
    answers: list[Answer] | None = None
    then: Answer | None = None
    latency: float | None = None
    api_key: str | None = None


@attrs.frozen(kw_only=True)
class ChangeAPI(Step):
    """The API changes its answers."""

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
    """A wall clock is set."""

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
    """The store changes or fails."""

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
    """A process closes its session and ends."""

    does = "close"
    process: str = "main"


@attrs.frozen(kw_only=True)
class Kill(Step):
    """A process is killed."""

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
        Grow,
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
