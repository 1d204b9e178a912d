"""Read pieces of an input by the position of their rows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator, Iterable
from itertools import islice
from typing import Final

from ...call_lists.formats import Row
from ...call_lists.source import InputChangedError, Source
from .state import BatchRow

_STEP: Final = 500
_KEPT: Final = 12


def in_batches(source: Source, batches: Iterable[BatchRow]) -> Generator[tuple[BatchRow, list[Row]]]:
    """Yield each batch of the whole input with its rows.

    Args:
        source: the input.
        batches: all of its batches, in its order.
    """
    rows = source.rows()
    for batch in batches:
        yield batch, list(islice(rows, batch.size))


class Pieces:
    """Read the rows of batches, going back to the start of the input only where that cannot be avoided.

    Args:
        source: the input.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._rows: Generator[Row] | None = None
        self._at = 0
        # Batches in flight may be cut and sent again, so their rows are needed a second time.
        self._recent: deque[tuple[int, list[Row]]] = deque(maxlen=_KEPT)

    async def read(self, batch: BatchRow) -> list[Row]:
        """Return the rows of a batch.

        Raises:
            InputChangedError: the input is not the same any more.
        """
        first, size = batch.first, batch.size
        for start, rows in self._recent:
            if start <= first and first + size <= start + len(rows):
                return rows[first - start : first - start + size]
        self._source.check_unchanged()
        if self._rows is None or first < self._at:
            self.close()
            self._rows, self._at = self._source.rows(), 0
        while self._at < first:
            self._at += sum(1 for _ in islice(self._rows, min(_STEP, first - self._at))) or first
            await asyncio.sleep(0)
        rows = list(islice(self._rows, size))
        self._at += len(rows)
        if len(rows) != size:
            self._source.check_unchanged()
            raise InputChangedError("the input has fewer records than it had: nothing more is sent; give it as it was")
        self._recent.append((first, rows))
        return rows

    def close(self) -> None:
        """Stop reading."""
        if self._rows is not None:
            self._rows.close()
            self._rows = None
