"""Numbers from a file or standard input: one on each line."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

from ..api.phone import is_e164, number_problem
from ..errors import ConfigurationError
from .streams import standard_input
from .text import plain

_STDIN: Final = "-"
_MOST_SHOWN: Final = 20
_MOST_CHARACTERS: Final = 200


def read_numbers(file: str) -> list[str]:
    """The numbers, in E.164; blank lines are none.

    Raises:
        ConfigurationError: names every line (20 of them) that has no number, or says that there are none.
    """
    if file == _STDIN:
        return _numbers(standard_input())
    try:
        with Path(file).open("rb") as opened:
            return _numbers(opened)
    except OSError as error:
        raise ConfigurationError(f"{plain(file)} cannot be read ({error.strerror})") from None


def _numbers(file: BinaryIO) -> list[str]:
    numbers: list[str] = []
    wrong: list[str] = []
    for line, text in enumerate(file, 1):
        # Trimmed before it is cut: a number with something far behind it is none.
        number = text.decode("utf-8-sig", "replace").strip()[:_MOST_CHARACTERS]
        if is_e164(number):
            numbers.append(number)
        elif number:
            wrong.append(f"line {line}: {plain(number_problem(number))}")
    if wrong:
        more = len(wrong) - _MOST_SHOWN
        shown = [*wrong[:_MOST_SHOWN], *([f"and {more:,} more lines"] if more > 0 else [])]
        raise ConfigurationError("\n".join(["nothing was sent: these are no numbers in E.164", *shown]))
    if not numbers:
        raise ConfigurationError("there are no numbers: one on each line is needed")
    return numbers
