"""Search texts and errors for secrets."""

from __future__ import annotations

import pickle
import re
import traceback
from typing import Any, Final

_HEADER: Final = re.compile(r"Bearer (?!\*\*\*)[^\s{]")


class Hidden:
    """Values that must not appear in a text, and neither must any ``Bearer x``.

    Its repr hides them, so that the frame of a test does not show them.
    """

    def __init__(self, *values: str) -> None:
        self._values = [str(value) for value in values]

    @property
    def api_key(self) -> str:
        """Return the first value."""
        return self._values[0]

    def add(self, *values: str) -> None:
        """Add values."""
        self._values += [str(value) for value in values]

    def none_in(self, text: str) -> None:
        """Fail if `text` contains one of the values."""
        shown = any(value in text for value in self._values) or _HEADER.search(text) is not None
        del text
        assert not shown, "a secret was shown"


def everything_about(error: BaseException) -> str:
    """Return the traceback with locals, repr, str and attributes of an error and its causes, and its pickle."""
    lines = list(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    links: list[BaseException] = [error]
    for link in links:
        links += [
            it
            for it in (link.__cause__, None if link.__suppress_context__ else link.__context__)
            if it is not None and it not in links
        ]
        lines += [repr(link), str(link), repr(link.args), repr(vars(link)), f"{link!s} {link}"]
    lines.append(_pickled(error))
    return "\n".join(lines)


def _pickled(thing: Any) -> str:
    try:
        return pickle.dumps(thing, protocol=0).decode("latin-1")
    except Exception as error:
        return repr(error)
