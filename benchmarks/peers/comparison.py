"""Define what a question gets (`Comparison`) and what it returns (`Table`)."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs

from ..sandboxes import RemoteSandbox, SandboxProcess
from .adapters import adapter
from .peer import Peer, Target

Cell: TypeAlias = str | int | float

HOUR = 3600.0
UNLIMITED_MINTS = 1_000_000


@attrs.frozen
class Table:
    """The answer to one question.

    Args:
        number: number of the question.
        title: the question.
        how: how it was measured, in a few sentences.
        columns: column heads, without the first, which names the peer.
        rows: the cells of each peer.
        figures: data of the plot.
        load: load average of the minute before the question.
        seconds: duration of the measurement.
    """

    number: int
    title: str
    how: str
    columns: list[str]
    rows: dict[str, list[Cell]]
    figures: dict[str, Any] = attrs.field(factory=dict)
    load: float = 0.0
    seconds: float = 0.0


@attrs.frozen
class Comparison:
    """The settings of a run.

    Args:
        sandboxes: the process that runs the sandboxes.
        names: names of the compared peers; the first is the baseline of ratios.
        quick: whether to run fewer rounds and shorter waits.
    """

    sandboxes: SandboxProcess
    names: tuple[str, ...]
    quick: bool = False

    @property
    def refreshing(self) -> tuple[str, ...]:
        """Names of the peers that can mint a second token."""
        return tuple(name for name in self.names if adapter(name).window)

    def pick(self, whole: int, quick: int) -> int:
        """Return the number of rounds or seconds of this run."""
        return quick if self.quick else whole

    def sandbox(self, **rules: Any) -> RemoteSandbox:
        """Start a sandbox; it grants any number of mints by default, since mints are counted."""
        return self.sandboxes.open(**{"max_mints": UNLIMITED_MINTS} | rules)

    def target(self, sandbox: RemoteSandbox, **options: Any) -> Target:
        """Return the connection settings of a sandbox."""
        key = sandbox.credentials
        return Target(sandbox.base_url, key.client_account_id, key.key_id, str(key.api_key), **options)

    def peer(self, name: str, sandbox: RemoteSandbox, **options: Any) -> Peer:
        """Create a peer that uses `sandbox`, to be entered with ``async with``."""
        return adapter(name)(self.target(sandbox, **options))
