"""How a command ends. 0 well, 1 and 4 the demo's verdict, 2 a setting is wrong, 3 no token, 130."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Generator
from typing import BinaryIO, NoReturn, TextIO

import typer

from ..errors import ConfigurationError


def quiet() -> None:
    """What goes wrong is told once, by the error line; the log would say it again, and tear the demo's table."""
    logging.getLogger("truecaller_vbc").addHandler(logging.NullHandler())


def leave(error: Exception, code: int) -> NoReturn:
    """Say what is wrong in one line, and leave."""
    typer.echo(f"error: {error}", err=True)
    sys.exit(code)


def standard_input() -> BinaryIO:
    """Its bytes.

    Raises:
        ConfigurationError: there is none, as a daemon may have been started.
    """
    stdin: TextIO | None = sys.stdin
    if stdin is None:
        raise ConfigurationError("there is no standard input to read - from: give a FILE")
    return stdin.buffer


def is_terminal(stream: TextIO | None) -> bool:
    """Whether people look at it. A daemon may have been started without one."""
    return stream is not None and stream.isatty()


@contextlib.contextmanager
def told() -> Generator[None]:
    """What is told in the block may find nobody to read it: that changes nothing of what was done, or the exit code."""
    try:
        yield
    except BrokenPipeError:
        pass  # as `| head` does
    except OSError as error:
        with contextlib.suppress(OSError):
            typer.echo(f"error: how it ended cannot be printed ({error.strerror})", err=True)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _let_go(stream)


def _let_go(stream: TextIO | None) -> None:
    """What is left in a stream that nobody reads must not fail once more when Python ends."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
