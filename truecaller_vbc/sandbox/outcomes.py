"""What becomes of a valid record: delivered, or one of the documented reasons why not."""

from __future__ import annotations

from typing import Final

from .record_rules import EITHER

# Like the test numbers of card processors: the last five digits decide.
_BY_ENDING: Final = {
    1: "Not a Truecaller user",
    2: "OS not supported",
    3: "App version not supported",
    4: "Failed to push",
    5: "Invalid input",
}
_ENDINGS: Final = 100_000


class Outcomes:
    """Says what becomes of records by their receiver (API reference, "Call Personalisation Errors")."""

    def __init__(self) -> None:
        self._chosen: dict[int, str | None] = {}

    def choose(self, number: str, message: str | None) -> None:
        """Let records for `number` fail with `message` from now on, or succeed if that is None.

        Raises:
            ValueError: `number` is none.
        """
        if not EITHER.fullmatch(number):
            raise ValueError(f"number must be digits with the country code, not {number!r}")
        self._chosen[int(number)] = message

    def failure(self, receiver: int) -> str | None:
        """Why a record for `receiver` fails, or None if it succeeds."""
        if receiver in self._chosen:
            return self._chosen[receiver]
        return _BY_ENDING.get(receiver % _ENDINGS)
