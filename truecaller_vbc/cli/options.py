"""Turn the fields of attrs classes into the options of commands, and run a command to its exit code."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, TypeAlias

import attrs
import typer

from .failures import ANY_FAILURE, INTERRUPTED, exit_code, exit_with

_OPTION: Final = "option"
AsJSON: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON document, and nothing else.")]


def option(shown: str, panel: str | None = None, *, kind: Any = None, default: Any = None, **more: Any) -> Any:
    """Return an attrs field that `with_options` turns into an option.

    Args:
        shown: its help.
        panel: where the help of the command lists it.
        kind: type of the option, where it differs from the field's.
        default: of the field.
        more: `name`, where it differs from the field's; `converter` from the option to the field; more of what
            `typer.Option` takes.
    """
    names = [more.pop("name")] if "name" in more else []
    converter = more.pop("converter", None)
    info = functools.partial(typer.Option, *names, help=shown, rich_help_panel=panel, **more)
    return attrs.field(default=default, converter=converter, metadata={_OPTION: (kind, info)})


def flag(shown: str, panel: str | None = None, **more: Any) -> Any:
    """Return an attrs field that `with_options` turns into an option without a value."""
    return option(shown, panel, default=False, **more)


def argument(**shown: Any) -> Any:
    """Return an attrs field that `with_options` turns into an argument."""
    return attrs.field(metadata={_OPTION: (None, functools.partial(typer.Argument, **shown))})


def with_options(command: Callable[..., Any]) -> Callable[..., None]:
    """Replace each parameter whose type is an attrs class by that class's options; exit with the command's result."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if attrs.has(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            parameters += _parameters(parameter.annotation)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        # The error line reports the failure, and log lines would break the live table.
        logging.getLogger("truecaller_vbc").addHandler(logging.NullHandler())
        as_json = given.get("as_json", False)
        try:
            built = {name: _build(group, given) for name, group in groups.items()}
            result = command(**given, **built)
            sys.exit(asyncio.run(result) if inspect.iscoroutine(result) else result)
        except BrokenPipeError:
            raise  # Typer ends quietly
        except ANY_FAILURE as error:
            exit_with(error, exit_code(error), as_json=as_json)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _fields(group: Any) -> Any:
    return attrs.fields(attrs.resolve_types(group))


def _parameters(group: Any) -> Iterator[inspect.Parameter]:
    for field in _fields(group):
        if attrs.has(field.type):
            yield from _parameters(field.type)
        elif _OPTION in field.metadata:
            kind, info = field.metadata[_OPTION]
            default = inspect.Parameter.empty if field.default is attrs.NOTHING else field.default
            # Typer would give a flag a --no- as well.
            names = [f"--{field.name.replace('_', '-')}"] if field.type is bool and not info.args else []
            annotation: Any = Annotated[kind or field.type, info(*names)]
            yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _build(group: Any, given: dict[str, Any]) -> Any:
    """Return an instance of a class, made of the given options, which are taken out."""
    return group(
        **{
            field.name: _build(field.type, given) if attrs.has(field.type) else given.pop(field.name)
            for field in _fields(group)
            if attrs.has(field.type) or _OPTION in field.metadata
        }
    )
