"""Say which push is meant, and open its state and its input."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

import attrs

from ...call_lists import Source, open_source
from ...errors import ConfigurationError
from ..options import argument, option
from .list_options import RecordRules, SourceOptions
from .parsing import load_settings
from .state import STDIN, PushState, is_state, open_state

_NO_RULES: Final = ("date", "window", "format", "delimiter")
PUSHING: Final = "How it is pushed"


@attrs.frozen(kw_only=True)
class PushPlace:
    """Say which push is meant.

    Args:
        file: the input, or a state.
        settings: file with options; it is read before these are parsed.
        state: where the push is remembered, if not beside the input.
    """

    file: str = argument(metavar="FILE", help="The list (- for standard input), or the state of its push.")
    settings: Path | None = option(
        "TOML file with options of push; the command line wins.", callback=load_settings, is_eager=True
    )
    state: Path | None = option("Where the push is remembered; else FILE.push.", PUSHING)

    @property
    def state_path(self) -> Path:
        """Return the path of the state: FILE itself, if it is one."""
        if self.state is not None or is_state(Path(self.file)):
            return self.state or Path(self.file)
        return Path(f"{'stdin' if self.file == STDIN else self.file}.push")


@contextlib.contextmanager
def open_push(place: PushPlace) -> Generator[tuple[Source, PushState]]:
    """Open the state of a push and its input: FILE, or what the state has kept of standard input.

    Raises:
        ConfigurationError: one of them cannot be used.
    """
    path = Path(place.file)
    with open_state(place.state_path) as state, contextlib.ExitStack() as stack:
        options = source_options(state)
        if place.file != STDIN and not is_state(path):
            yield stack.enter_context(open_source(path, options)), state
            return
        copy = stack.enter_context(tempfile.TemporaryFile())
        if not state.copy_input(copy):
            raise ConfigurationError(f"{state.path} keeps no input: give {state.facts.input} as FILE")
        yield Source(copy, state.path, "standard input", options), state


def rules_of(state: PushState) -> RecordRules:
    """Return the rules that the push was begun with."""
    return RecordRules(**{name: value for name, value in state.facts.rules.items() if name not in _NO_RULES})


def source_options(state: PushState) -> SourceOptions:
    """Return how the input of the push is read."""
    return SourceOptions(**{name: state.facts.rules.get(name) for name in ("format", "delimiter")})
