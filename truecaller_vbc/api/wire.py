"""Convert JSON to models, tolerating whatever the server sends.

A field that is missing, null or of the wrong type gets its default, and unknown fields are ignored. Names may be in
snake_case or camelCase, times in ISO 8601 with any fraction or in epoch milliseconds (API reference, "A client must
cope with either").
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeGuard, TypeVar, cast, get_args

import attrs

from ..timestamps import read_timestamp
from .models import OpenEnum
from .records import is_e164

T = TypeVar("T")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YES: Final = ("true", "enabled", "yes", "1")
_NO: Final = ("false", "disabled", "no", "0")


def read(value: Any, kind: type[T]) -> T:
    """Return the model of a JSON object; a model of defaults for anything else."""
    return cast(T, _model_reader(cast(Any, kind))(value))


def read_list(value: Any, kind: type[T]) -> tuple[T, ...]:
    """Return the models of a JSON array's objects; other items are left out."""
    return tuple(read(item, kind) for item in value if isinstance(item, dict)) if _is_list(value) else ()


def is_list_of(value: object, *keys: str) -> TypeGuard[list[Any]]:
    """Tell whether a value is a JSON array that is empty or has objects.

    Args:
        value: JSON.
        keys: names of fields, one of which an object must have.
    """
    if not isinstance(value, list):
        return False
    objects = [cast(dict[str, Any], item) for item in cast(list[object], value) if isinstance(item, dict)]
    if not keys:
        return bool(objects) or not value
    return not value or any(spelled(item, key) for item in objects for key in keys)


def spelled(fields: Mapping[str, Any], name: str) -> Any:
    """Return the value of a field by its name in snake_case, or else in camelCase."""
    value = fields.get(name)
    return fields.get(camel_case(name)) if value is None else value


def as_e164(text: str) -> str:
    """Return a number of the API, which writes them with and without a plus, in E.164; other text unchanged."""
    number = text if text.startswith("+") else f"+{text}"
    return number if is_e164(number) else text


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _whole(value: Any) -> int | None:
    if type(value) is int:
        return value
    number = _number(value)
    return None if number is None else int(number)


def _switch(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = _text(value).strip().lower()
    return True if word in _YES else False if word in _NO else None


def _time(value: Any) -> datetime | None:
    # Try numbers first: read as ISO 8601, 1712121200000 would be a day in the year 1712.
    number = _number(value)
    if number is None:
        return read_timestamp(value)
    try:
        return _EPOCH + timedelta(milliseconds=number)
    except OverflowError:
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _word(kind: type[OpenEnum], value: Any) -> OpenEnum:
    return kind(_text(value).strip())


@functools.cache
def _model_reader(kind: Any) -> Callable[[Any], Any]:
    """Build the function that reads an attrs class once, so that long pages convert quickly."""
    fields = attrs.fields(attrs.resolve_types(kind))
    plan = [(_names(field), _reader(field)) for field in fields]
    flat = [(field.name, _reader(field)) for field in fields if field.metadata.get("flat")]

    def read_model(value: Any) -> Any:
        if not isinstance(value, dict):
            return kind()
        source = cast(dict[str, Any], value)
        found: dict[str, Any] = {}
        for names, reader in plan:
            for name in names:
                if (given := source.get(name)) is not None:
                    if (value := reader(given)) is not None:
                        found[names[0]] = value
                    break
        for name, reader in flat:
            if name not in found:
                found[name] = reader(source)
        return kind(**found)

    return read_model


def _reader(field: attrs.Attribute[Any]) -> Callable[[Any], Any]:
    return _reader_of(cast(Any, field.type), is_number=bool(field.metadata.get("number")))


def _reader_of(kind: Any, *, is_number: bool) -> Callable[[Any], Any]:
    if is_number:
        return lambda value: as_e164(_text(value))
    simple = {str: _text, int | None: _whole, bool | None: _switch, datetime | None: _time}
    if kind in simple:
        return simple[kind]
    if _is_open_enum(kind):
        return partial(_word, kind)
    if items := get_args(kind):
        item: Any = items[0]
        return lambda value: read_list(value, item)
    return _model_reader(kind)


def _is_open_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, OpenEnum)


def _names(field: attrs.Attribute[Any]) -> tuple[str, ...]:
    """Return the names of a field on the wire (snake_case, camelCase, and the name in older documents)."""
    names = (field.name, camel_case(field.name), field.metadata.get("old"))
    return tuple(dict.fromkeys(name for name in names if name))


def camel_case(name: str) -> str:
    """Return a name in snake_case in camelCase."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
