"""Everything that a careless program may print of an error or an object."""

from __future__ import annotations

import pickle
import re
import traceback
from typing import Any, Final

_HEADER: Final = re.compile(r"Bearer (?!\*\*\*)[^\s{]")


class Hidden:
    """What must be seen nowhere, besides every ``Bearer x``.

    It shows nothing itself, so that a test's own frame does not give it away.
    """

    def __init__(self, *values: str) -> None:
        self._values = [str(value) for value in values]

    def add(self, *values: str) -> None:
        """These, too."""
        self._values += [str(value) for value in values]

    def none_in(self, text: str) -> None:
        """Fails where one of them is in a text."""
        shown = any(value in text for value in self._values) or _HEADER.search(text) is not None
        del text
        assert not shown, "a secret was shown"


def everything_about(error: BaseException) -> str:
    """Traceback with locals, repr, str, arguments and attributes of the error and all that it came from; its pickle."""
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
