"""Foreign text for a terminal: no control characters, so that nobody moves the cursor or clears the screen with it."""

from __future__ import annotations

from typing import Final

_MOST: Final = 300


def plain(value: object, most: int = _MOST) -> str:
    """One line of at most `most` characters; what cannot be printed is written as an escape."""
    text = str(value)
    if len(text) > most:
        text = text[: most - 1] + "…"
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
