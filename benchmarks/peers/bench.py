"""What every question is given, and what it gives back."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs

from .adapters import adapter
from .farm import Farm, House
from .peer import Peer
from .wire import Wire

Cell: TypeAlias = str | int | float

HOUR = 3600.0


@attrs.frozen
class Answer:
    """One table.

    Args:
        number: of the question.
        title: the question.
        how: how it was measured, in a few sentences.
        columns: the heads, but for the first, which is the peer.
        rows: for each peer its cells.
        figures: what the plots are drawn from.
        load: the load average of the minute before it was asked.
        seconds: that it took to answer.
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
class Bench:
    """A run.

    Args:
        farm: where the sandboxes are.
        names: of the peers that take part.
        quick: fewer rounds and shorter waits, for a first look.
    """

    farm: Farm
    names: tuple[str, ...]
    quick: bool = False

    @property
    def minting(self) -> tuple[str, ...]:
        """The peers that ever mint a second token."""
        return tuple(name for name in self.names if adapter(name).window)

    def pick(self, whole: int, quick: int) -> int:
        """A number of rounds or seconds."""
        return quick if self.quick else whole

    def wire(self, house: House, **options: Any) -> Wire:
        return Wire(**house.facts, **options)

    def peer(self, name: str, house: House, **options: Any) -> Peer:
        """A peer that is pointed at `house`; to be entered."""
        return adapter(name)(self.wire(house, **options))
