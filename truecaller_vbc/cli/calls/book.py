"""What became of each chunk so far: a few bytes for each, however long the input is."""

from __future__ import annotations

from array import array
from typing import Final, Literal, TypeAlias, get_args

import attrs

from ...api.calls import MOST_RECORDS

ChunkState: TypeAlias = Literal["open", "sending", "acknowledged", "refused", "unknown", "unsent", "invalid"]

_STATES: Final[tuple[ChunkState, ...]] = get_args(ChunkState)
_TO_DO: Final = frozenset({"open", "unsent"})


@attrs.frozen
class Totals:
    """How many records have come to what."""

    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    unsent: int = 0
    invalid: int = 0


class ChunkBook:
    """The state of every chunk, and where the journal has its last line.

    Args:
        records: of the whole input. Chunks are of 500, by their position, so that each run has the same ones.
    """

    def __init__(self, records: int) -> None:
        self.records = records
        self.chunks = -(-records // MOST_RECORDS)
        self._states = bytearray(self.chunks)
        self._invalid = array("H", bytes(2 * self.chunks))
        self._places = array("Q", bytes(8 * self.chunks))

    def size(self, chunk: int) -> int:
        """How many records it has, the invalid ones included."""
        return min(MOST_RECORDS, self.records - chunk * MOST_RECORDS)

    def state(self, chunk: int) -> ChunkState:
        """What became of it; ``sending`` is ``unknown`` once nobody is at it any more."""
        return _STATES[self._states[chunk]]

    def place(self, chunk: int) -> int:
        """Where its last line begins in the journal."""
        return self._places[chunk]

    def to_do(self, chunk: int) -> bool:
        """Whether it may be sent: surely nothing of it was taken before."""
        return self.state(chunk) in _TO_DO

    @property
    def any_to_do(self) -> bool:
        """Whether any chunk may be sent."""
        return any(_STATES[state] in _TO_DO for state in self._states)

    def enter(self, chunk: int, state: ChunkState, invalid: int, place: int) -> None:
        """The newest of it.

        Raises:
            ValueError: there is no such chunk, no such state, or it cannot have so many invalid records.
        """
        if not 0 <= chunk < self.chunks or not 0 <= invalid <= self.size(chunk):
            raise ValueError("there is no such chunk")
        self._states[chunk] = _STATES.index(state)
        self._invalid[chunk] = invalid
        self._places[chunk] = place

    def totals(self) -> Totals:
        """Of all chunks."""
        counts = dict.fromkeys(_STATES, 0)
        invalid = 0
        for chunk, state in enumerate(self._states):
            counts[_STATES[state]] += self.size(chunk) - self._invalid[chunk]
            invalid += self._invalid[chunk]
        return Totals(
            acknowledged=counts["acknowledged"],
            refused=counts["refused"],
            unknown=counts["sending"] + counts["unknown"],
            unsent=counts["open"] + counts["unsent"],
            invalid=invalid + counts["invalid"],
        )


def chunk_state(word: object) -> ChunkState:
    """The state by that name.

    Raises:
        ValueError: there is none.
    """
    if word not in _STATES:
        raise ValueError("there is no such state")
    return word
