"""Convert models, statuses and events to JSON-ready dicts, and let pydantic use them as field types."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

if TYPE_CHECKING:
    from cattrs import Converter
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_MS: Final = "epoch_ms"
"""Marks in an attrs field's metadata that its int is a time, which `to_dict` writes as ISO 8601."""


class Serializable:
    """Mixin of attrs classes that can be written as JSON and be fields of pydantic models."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that `json.dumps` takes: times in ISO 8601, words as text, sets as sorted lists.

        Phone numbers are not masked.
        """
        return cast(dict[str, Any], _converter().unstructure(self))

    @classmethod
    def _from_dict(cls, fields: Mapping[str, Any]) -> Any:
        """Return the object that `to_dict` wrote. Raises any exception for other content."""
        computed = {field.name for field in attrs.fields(cast(Any, cls)) if not field.init}
        return _converter().structure({name: fields[name] for name in fields if name not in computed}, cls)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Only pydantic calls this, so it is installed.
        from pydantic_core import core_schema as schemas  # noqa: PLC0415

        kind = attrs.resolve_types(cast(Any, cls))
        fields = {
            field.name: schemas.typed_dict_field(
                handler.generate_schema(_json_type(field)), required=field.default is attrs.NOTHING
            )
            for field in attrs.fields(kind)
        }
        return schemas.no_info_plain_validator_function(
            functools.partial(_validate, cls),
            ref=f"{cls.__module__}.{cls.__qualname__}",
            json_schema_input_schema=schemas.typed_dict_schema(fields, cls_name=cls.__name__),
            serialization=schemas.plain_serializer_function_ser_schema(cls.to_dict),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core["json_schema_input_schema"]), "title": cls.__name__}


def fields_error(title: str, problems: list[tuple[str, str, Any]]) -> Exception:
    """Return pydantic's error of wrong fields, each given as its name (``""`` for the whole), a text and its value."""
    from pydantic_core import PydanticCustomError, ValidationError  # noqa: PLC0415 - called from a validation only

    lines: list[Any] = [
        {"type": PydanticCustomError("invalid_field", cast(Any, text)), "loc": (name,) if name else (), "input": value}
        for name, text, value in problems
    ]
    return ValidationError.from_exception_data(title, lines)


def _validate(kind: type[Serializable], value: Any) -> Any:
    from pydantic_core import PydanticCustomError, ValidationError  # noqa: PLC0415 - called from a validation only

    if isinstance(value, kind):
        return value
    if isinstance(value, Mapping):
        try:
            return kind._from_dict(cast(Mapping[str, Any], value))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        except ValidationError:
            raise
        except Exception:  # noqa: S110 - cattrs has many errors, and none may become an error 500
            pass
    raise PydanticCustomError("invalid_object", "must be what {name}.to_dict() returns", {"name": kind.__name__})


def _json_type(field: attrs.Attribute[Any]) -> Any:
    """Return the type that a field has in JSON: words that the server may add to are any text."""
    kind: Any = field.type
    if field.metadata.get(EPOCH_MS):
        return datetime | int
    if isinstance(kind, type) and issubclass(kind, Enum):
        return str
    if _is_error(kind) or _may_be_error(kind):
        return dict[str, Any] | None
    return cast(Any, field.type)


def _is_error(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _may_be_error(kind: Any) -> bool:
    return any(_is_error(option) for option in getattr(kind, "__args__", ()))


def _error_fields(error: BaseException) -> dict[str, Any]:
    """Return what an error says, without its cause."""
    fields: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(retry_at := getattr(error, "retry_at", None), datetime):
        fields["retry_at"] = retry_at.isoformat()
    return fields


@functools.cache
def _converter() -> Converter:
    from cattrs import Converter  # noqa: PLC0415 - programs that only use tokens in memory do not need it
    from cattrs.gen import make_dict_unstructure_fn, override  # noqa: PLC0415

    def unstructure_with_times(kind: Any) -> Any:
        times = [field.name for field in attrs.fields(kind) if field.metadata.get(EPOCH_MS)]
        options: dict[str, Any] = {name: override(unstruct_hook=_iso_time) for name in times}
        return make_dict_unstructure_fn(kind, converter, _cattrs_include_init_false=True, **options)

    converter = Converter(forbid_extra_keys=True, unstruct_collection_overrides={frozenset: sorted, tuple: list})
    converter.register_unstructure_hook_func(_is_error, _error_fields)
    converter.register_unstructure_hook_factory(_is_serializable, unstructure_with_times)
    for kind in (date, datetime):
        converter.register_unstructure_hook(kind, kind.isoformat)
        converter.register_structure_hook(kind, lambda value, kind: kind.fromisoformat(value))
    return converter


def _is_serializable(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Serializable)


def _iso_time(epoch_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=epoch_ms)).isoformat()
