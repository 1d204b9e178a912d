"""Walk over the frames of an error as an error tracker does, and look for a receiver's number."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

NUMBER: Final = "+919876543210"
DIGITS: Final = "9876543"
_TESTS: Final = str(Path(__file__).parents[1])


def _errors(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _frames(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames of an error and its causes that are not those of the tests."""
    for link in _errors(error):
        for frame, _ in traceback.walk_tb(link.__traceback__):
            if not frame.f_code.co_filename.startswith(_TESTS):
                yield frame


def _captured(value: object) -> str:
    """Render a local variable as Sentry's SDK does: mappings and sequences item by item, all else by its repr."""
    if isinstance(value, Mapping):
        return "".join(f"{key}: {_captured(item)}\n" for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return "\n".join(map(_captured, value))
    return repr(value)


def shows_no_number(error: BaseException) -> None:
    """Fail if a captured local variable of a frame, or a text of an error and its causes, shows the number."""
    found = [
        f"{frame.f_code.co_filename}:{frame.f_lineno} {name}"
        for frame in _frames(error)
        for name, value in frame.f_locals.items()
        if DIGITS in _captured(value)
    ]
    assert found == []
    texts = [text for link in _errors(error) for text in (str(link), repr(link))]
    assert [text for text in texts if DIGITS in text] == []


def captured_below(frame: FrameType | None) -> list[str]:
    """Return the local variables of the frames that called this one, without those of the tests, as text."""
    found: list[str] = []
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_TESTS):
            found += [f"{frame.f_code.co_qualname} {name}: {_captured(it)}" for name, it in frame.f_locals.items()]
        frame = frame.f_back
    return found
