"""A row of the input, whatever its format, and what makes an input unreadable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ...errors import VBCError

MOST_CHARACTERS: Final = 1024 * 1024
"""Of one record: what is longer is no record, and is not kept in memory."""


class Row(NamedTuple):
    """One record as it was read.

    Attributes:
        line: its first line, counted from 1.
        fields: by their names; none where it cannot be read.
        fault: why it cannot be read.
    """

    line: int
    fields: Mapping[str, Any]
    fault: str = ""


class UnreadableInputError(VBCError):
    """Nobody can tell where the next record begins, so nothing after it can be read.

    Attributes:
        line: where.
        fault: what is wrong there.
    """

    def __init__(self, line: int, fault: str) -> None:
        super().__init__(f"line {line}: {fault}")
        self.line = line
        self.fault = fault
