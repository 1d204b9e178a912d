"""Rows of a JSON Lines file: one object on each line, UTF-8."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, BinaryIO, Final, cast

from ..text import plain
from .rows import MOST_CHARACTERS, Row

_BOM: Final = b"\xef\xbb\xbf"


def jsonl_rows(file: BinaryIO) -> Generator[Row]:
    """The objects; blank lines are none."""
    number = 0
    while line := file.readline(MOST_CHARACTERS + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) > MOST_CHARACTERS:
            while line and not line.endswith(b"\n"):
                line = file.readline(MOST_CHARACTERS)
            yield Row(number, {}, f"a record of more than {MOST_CHARACTERS:,} bytes")
        elif line.strip():
            yield _row(number, line)


def _row(number: int, line: bytes) -> Row:
    try:
        value = json.loads(line.decode(), object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError:
        return Row(number, {}, "has bytes that are not UTF-8 text")
    except json.JSONDecodeError as error:
        return Row(number, {}, f"is no JSON: {error.msg} at character {error.pos + 1}")
    except RecursionError:
        return Row(number, {}, "is nested too deeply")
    except ValueError as error:
        return Row(number, {}, plain(error))
    if not isinstance(value, dict):
        return Row(number, {}, f"must be a JSON object, not {type(value).__name__}")
    return Row(number, cast(dict[str, Any], value))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{plain(doubled, 40)!r} is there more than once")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
