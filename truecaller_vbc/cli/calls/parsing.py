"""Parse the command line of ``calls``: settings files, ``--wait`` without a value, errors with ``--json``."""

from __future__ import annotations

import re
import tomllib
from datetime import date, time
from pathlib import Path
from typing import Any, Final, cast

import typer
from typer.core import TyperCommand

from ...api.foreign_text import plain
from ...errors import ConfigurationError, VBCError
from ..failures import NOTHING_SENT, exit_with
from ..output import print_json

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?|\.\d+)([smhd]?)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DEFAULT_WAIT: Final = "--wait=10m"
# Sending records in doubt once more is decided each time.
_NOT_SETTINGS: Final = {"", "help", "settings", "send-unknown"}
# What the command line says excludes these settings.
_EXCLUDES: Final = {
    "--label": ("no-label",),
    "--no-label": ("label",),
    **dict.fromkeys(("--date", "--window"), ("starts-at", "ends-at")),
    **dict.fromkeys(("--starts-at", "--ends-at"), ("date", "window")),
}
# Typer has its own copy of click in newer versions, and exports only a subclass of this one.
_UsageError = cast(type[Exception], typer.BadParameter.__mro__[1])


class Command(TyperCommand):
    """Print one JSON document with ``--json`` also where the command line is wrong."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        ctx.meta["arguments"] = tuple(args)
        try:
            return super().parse_args(ctx, _with_wait(args))
        except VBCError as error:
            exit_with(error, NOTHING_SENT, as_json="--json" in args)
        except _UsageError as error:
            if "--json" in args:
                message: str = cast(Any, error).format_message()
                print_json({"exit_code": NOTHING_SENT, "error": message})
            raise


def _with_wait(args: list[str]) -> list[str]:
    """Fill in how long to wait where that is not said."""
    pairs = zip(args, [*args[1:], ""], strict=False)
    return [_DEFAULT_WAIT if it == "--wait" and not _DURATION.fullmatch(after) else it for it, after in pairs]


def duration(text: str | float, option: str) -> float:
    """Return a duration such as 90, 30m or 1h in seconds.

    Raises:
        VBCError: it is none.
    """
    if (found := _DURATION.fullmatch(str(text))) is None:
        # No ValueError, which Typer would put into its own words.
        raise VBCError(f"{option} {plain(text, 40)}: write seconds, or a time such as 30m or 1h")
    return float(found[1]) * _UNITS[found[2]]


def _typed(option: str, metavar: str) -> dict[str, Any]:
    def parse(text: str) -> float:
        return duration(text, option)

    return {"parser": parse, "metavar": metavar, "show_default": False}


DURATION: Final = _typed("--give-up-after", "DURATION")
WAIT: Final = _typed("--wait", "[DURATION]")
"""What `typer.Option` takes."""


def load_settings(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a TOML file where the command line has none.

    Raises:
        ConfigurationError: it is wrong.
    """
    if path is None:
        return None
    # One file serves all commands: the options of `push` that another one has not are left out.
    group: Any = context.parent and context.parent.command
    known = {_option(it) for it in group.commands["push"].params} - _NOT_SETTINGS
    try:
        found = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"--settings {plain(path)} cannot be read ({plain(reason)}): correct it") from None
    settings = {name.replace("_", "-"): _argument(name, value) for name, value in found.items()}
    if unknown := [name for name in settings if name not in known]:
        raise ConfigurationError(
            f"--settings {plain(path)}: {plain(unknown[0], 40)} is not an option; there are {', '.join(sorted(known))}"
        )
    for argument in context.meta["arguments"]:
        for name in _EXCLUDES.get(argument.partition("=")[0], ()):
            settings.pop(name, None)
    names = {_option(it): it.name for it in context.command.params}
    context.default_map = {names[name]: value for name, value in settings.items() if name in names}
    return path


def _option(parameter: Any) -> str:
    """Return the name of an option, and "" for an argument."""
    return parameter.opts[0].removeprefix("--") if parameter.opts[0].startswith("--") else ""


def _argument(name: str, value: Any) -> Any:
    """Return a value of TOML as it would be given on the command line."""
    if name == "column" and isinstance(value, dict):
        return [f"{field}={column}" for field, column in cast(dict[str, Any], value).items()]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, dict | list) and name != "column":
        raise ConfigurationError(f"--settings: {plain(name, 40)} takes one value")
    return cast(object, value)
